-- name: service_login
-- The service may log in as its role itself. Then no SET ROLE NONE gives a stolen session the rights of the owner.
GRANT SELECT ON {schema}.schema_migrations TO {service};
ALTER ROLE {service} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;

-- name: create_auditor
CREATE ROLE {auditor} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;

-- name: auditor
-- An auditor reads every table, those of later releases too, and may write nowhere in the schema.
ALTER ROLE {auditor} SET default_transaction_read_only = on;
ALTER ROLE {auditor} SET search_path = {schema};
GRANT USAGE ON SCHEMA {schema} TO {auditor};
GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {auditor};
ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT SELECT ON TABLES TO {auditor};
