-- Dagster keeps an alembic_version of its own: it needs a database of its own.
CREATE DATABASE dagster OWNER minitik;
