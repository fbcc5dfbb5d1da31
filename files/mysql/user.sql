-- What the Agent's MySQL integration needs, and nothing more. user.sh puts the password in place of :password.
-- Source: https://docs.datadoghq.com/integrations/mysql/#prepare-mysql
CREATE USER IF NOT EXISTS 'datadog'@'127.0.0.1' IDENTIFIED BY ':password';
ALTER USER 'datadog'@'127.0.0.1' IDENTIFIED BY ':password' WITH MAX_USER_CONNECTIONS 5;
GRANT REPLICATION CLIENT, PROCESS ON *.* TO 'datadog'@'127.0.0.1' WITH MAX_USER_CONNECTIONS 5;
GRANT SELECT ON performance_schema.* TO 'datadog'@'127.0.0.1';
