"""The code blocks of a page of the documentation."""

import re

# Each block's language, title and text.
blocks_of = re.compile(r'^```(sh|console|python)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL).findall
