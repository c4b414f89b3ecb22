-- Limits of concurrent requests: their leases, which alone say how many slots are held, have -1 as their bucket.
CREATE INDEX lease_slots ON lease (state_id) WHERE bucket = -1;
