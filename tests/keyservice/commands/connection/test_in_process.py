import subprocess
import sys

HEAVY = {"genai_prices", "pygal", "authlib", "joserfc", "cryptography", "keygauge_keyservice.portal.pages"}
LOOK = f"""
import sys
from keygauge_keyservice.app import create_app
from keygauge_keyservice.commands import accounts, keys, plans, usage
from keygauge_keyservice.commands.connection import in_process
from keygauge_keyservice.config import Settings
from keygauge_keyservice.secret import Peppers
settings = Settings(database_url="", service_token="s" * 16, admin_token="a" * 16, peppers=Peppers({{}}))
create_app(settings, has_pages=False)
print(*sorted(sys.modules.keys() & {HEAVY!r}))
"""


def test_command_on_the_database_loads_no_heavy_modules():
    ran = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []
