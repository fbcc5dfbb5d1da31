-- What the Agent's MySQL integration needs, and nothing more. user.sh creates the user, and recreates it if SHOW GRANTS
-- shows anything else.
-- Source: https://docs.datadoghq.com/integrations/mysql/#prepare-mysql
ALTER USER 'datadog'@'127.0.0.1' WITH MAX_USER_CONNECTIONS 5;
GRANT PROCESS, REPLICATION CLIENT ON *.* TO 'datadog'@'127.0.0.1';
GRANT SELECT ON `performance_schema`.* TO 'datadog'@'127.0.0.1';
