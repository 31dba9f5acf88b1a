//! The server behind the tour: a private cluster of its own, or a running one that was named. Either way it
//! ends with a database for the sample and a role that owns it.

use std::net::SocketAddr;

use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, Config, NoTls};

use super::cluster::Cluster;
use super::sample::{explain, quote_identifier};

/// Where the sample lives and who may use it.
#[derive(Clone, PartialEq, Eq)]
pub struct Upstream {
    pub host: String,
    pub port: u16,
    pub database: String,
    pub user: String,
    pub password: String,
}

/// The database on somebody's running server; in a private cluster it is called `app`.
const DATABASE_ELSEWHERE: &str = "pgweir_demo";

/// Shown on the screen and worth nothing: the private cluster listens on loopback and is thrown away.
const APP_PASSWORD: &str = "secret";

impl Upstream {
    /// Makes the role `app` and its database in a private cluster.
    pub async fn in_cluster(cluster: &Cluster) -> Result<Upstream, String> {
        let upstream = Upstream {
            host: "127.0.0.1".to_owned(),
            port: cluster.port(),
            database: "app".to_owned(),
            user: "app".to_owned(),
            password: APP_PASSWORD.to_owned(),
        };
        let client = connect_url(&cluster.url("postgres")).await?;
        run(&client, &format!("CREATE ROLE app LOGIN PASSWORD '{APP_PASSWORD}'")).await?;
        run(&client, "CREATE DATABASE app OWNER app").await?;
        let inside = connect_url(&cluster.url("app")).await?;
        for extension in ["pg_stat_statements", "hypopg"] {
            if cluster.programs().has_library(extension) {
                run(&inside, &format!("CREATE EXTENSION {extension}")).await?;
            }
        }
        Ok(upstream)
    }

    /// Makes the sample's database on a running server, or finds it there from last time. Touches nothing
    /// else of that server.
    pub async fn at(url: &str) -> Result<Upstream, String> {
        let (upstream, own_database) = parse(url)?;
        let client = upstream.connect(&own_database, "pgweir-demo").await?;
        let exists = client
            .query_opt("SELECT 1 FROM pg_database WHERE datname = $1", &[&upstream.database])
            .await
            .map_err(|e| explain(&e))?;
        if exists.is_none() {
            let name = quote_identifier(&upstream.database);
            run(&client, &format!("CREATE DATABASE {name}"))
                .await
                .map_err(|e| format!("{e}; the role of --upstream needs the right CREATEDB"))?;
        }
        Ok(upstream)
    }

    /// A connection as the sample's role, straight to the server.
    pub async fn connect(&self, database: &str, name: &str) -> Result<Client, String> {
        let mut config = self.config(name);
        config.dbname(database);
        let connected = config.connect(NoTls).await;
        let (client, connection) = connected.map_err(|e| {
            format!("cannot connect to {}:{} as {}: {}", self.host, self.port, self.user, explain(&e))
        })?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// The same through a pgweir that listens there.
    pub fn through(&self, listen: SocketAddr, application_name: &str) -> Config {
        let (host, port) = (listen.ip().to_string(), listen.port());
        Upstream { host, port, ..self.clone() }.config(application_name)
    }

    /// For connections to the sample's database, straight to the server, without TLS.
    pub fn config(&self, application_name: &str) -> Config {
        let mut config = Config::new();
        config
            .host(&self.host)
            .port(self.port)
            .user(&self.user)
            .password(&self.password)
            .dbname(&self.database)
            .ssl_mode(SslMode::Disable)
            .application_name(application_name);
        config
    }
}

/// The upstream that a URL names, and the URL's own database.
fn parse(url: &str) -> Result<(Upstream, String), String> {
    let form = "write it as postgres://user:password@host:5432/database";
    let config: Config = url.parse().map_err(|_| format!("--upstream is not a connection string; {form}"))?;
    let missing = |what: &str| format!("--upstream names no {what}; {form}");
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) if !host.is_empty() => host.clone(),
        Some(Host::Unix(_)) => {
            return Err(format!("--upstream names a socket, the demo uses TCP; {form}"));
        }
        _ => return Err(missing("host")),
    };
    let user = config.get_user().filter(|u| !u.is_empty());
    let user = user.ok_or_else(|| missing("user"))?;
    let password = config.get_password().ok_or_else(|| missing("password"))?;
    let upstream = Upstream {
        host,
        port: config.get_ports().first().copied().unwrap_or(5432),
        database: DATABASE_ELSEWHERE.to_owned(),
        user: user.to_owned(),
        password: String::from_utf8(password.to_vec())
            .map_err(|_| "the password of --upstream is not UTF-8".to_owned())?,
    };
    let own_database = config.get_dbname().unwrap_or(user).to_owned();
    Ok((upstream, own_database))
}

async fn connect_url(url: &str) -> Result<Client, String> {
    let connected = tokio_postgres::connect(url, NoTls).await;
    let (client, connection) =
        connected.map_err(|e| format!("cannot connect to the private PostgreSQL: {}", explain(&e)))?;
    tokio::spawn(connection);
    Ok(client)
}

async fn run(client: &Client, sql: &str) -> Result<(), String> {
    client.batch_execute(sql).await.map_err(|e| explain(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let (upstream, own) = parse("postgres://me:p%40ss@db.example:5433/main").unwrap();
        assert_eq!((upstream.host.as_str(), upstream.port, own.as_str()), ("db.example", 5433, "main"));
        assert_eq!((upstream.user.as_str(), upstream.password.as_str()), ("me", "p@ss"));
        assert_eq!(upstream.database, DATABASE_ELSEWHERE);
    }

    #[test]
    fn what_a_url_lacks_is_named() {
        for (url, what) in [
            ("postgres://me:pw@/main", "host"),
            ("postgres://:pw@db/main", "user"),
            ("postgres://me@db/main", "password"),
            ("nonsense", "connection string"),
        ] {
            let error = parse(url).err().unwrap();
            assert!(error.contains(what), "{url}: {error}");
            assert!(!error.contains("pw"), "{error}");
        }
    }
}
