"""The key service: it issues keys, shares limits between replicas and keeps the usage ledger.

`api`, `commands` and `portal` parse a request, call a domain and write the answer; `web` is what they share over HTTP.
The domains are `accounts`, `keys`, `limits`, `sync`, `ledger`, `usage`, `pricing`, `billing`, `notices` and `journal`.
`values` and `reading` parse input, `migrations` has the tables, and `serving` the processes of `keygauge serve`.
"""
