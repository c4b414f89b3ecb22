"""The cost of calls in integer nano-USD, by the rates from the key service.

May import only the modules directly in `keygauge`.
"""
