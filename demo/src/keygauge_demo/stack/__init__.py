"""The processes of the demo: started in order, watched, and stopped in reverse order.

It imports only `settings`.
"""
