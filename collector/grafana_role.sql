-- Let the role of the migrations sign in, with the password that Grafana is given; psql reads it from its environment.
\getenv password KEYGAUGE_GRAFANA_DATABASE_PASSWORD
ALTER ROLE keygauge_grafana LOGIN PASSWORD :'password';
