-- What keys may be used for, and since when they have their secret: for the dashboard of their hygiene.

CREATE OR REPLACE VIEW grafana.key AS
SELECT key.id, key.name, key.account_id, account.name AS account_name, account.plan_id, key.environment,
       CASE WHEN key.status = 'active' AND account.status = 'suspended' THEN 'suspended' ELSE key.status END AS status,
       key.created_at, key.expires_at, key.deleted_at, key.last_used_at, key.last_used_ip, key.last_used_route,
       key.app, key.routes, key.models, key.networks, key.scopes, key.rotate_every_days,
       (SELECT max(created_at) FROM key_secret WHERE key_id = key.id) AS rotated_at
FROM key JOIN account ON account.id = key.account_id;
