//! All plugin servers of a gateway.

use std::{
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use silverback_model::schema::Schema;
use silverback_pdk::{Handler, LogLevel, Origin, Phase, Phases, Plugin, log};
use thiserror::Error;
use tokio::{sync::oneshot, time::timeout};

use crate::{
    config::Config,
    event::Event,
    info::{self, Dump, Info},
    instance,
    process::{describe, shell},
    server::{Ends, Order, Server},
    status::ServerStatus,
    supervisor,
};

/// How long a query command may take.
const QUERY_TIMEOUT: Duration = Duration::from_secs(60);

/// The plugin servers of a gateway. Made once, before the workers start.
pub struct Servers {
    servers: Vec<Arc<Server>>,
    ends: Mutex<Vec<(Arc<Server>, Ends)>>,
}

/// What is wrong with one server.
#[derive(Debug, Error)]
#[error("plugin server '{server}': query command '{command}': {fault}")]
pub struct QueryError {
    /// Its name.
    pub server: String,
    /// The command that was run.
    pub command: String,
    /// What is wrong, with the command's own words.
    pub fault: String,
}

/// What is wrong with each of the servers that have a fault.
#[derive(Debug, Error)]
pub struct QueryErrors(pub Vec<QueryError>);

impl fmt::Display for QueryErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl Servers {
    /// Runs the query commands, all at once, and makes plugins of what they print. The servers
    /// themselves are started by [`Self::supervise`].
    ///
    /// # Errors
    /// If a command can't be run, fails, takes more than a minute, or prints something else than a
    /// description of plugins. All faults of all servers are told.
    pub async fn query(configs: Vec<Config>) -> Result<(Servers, Vec<Plugin>), QueryErrors> {
        let answers = join_all(configs.into_iter().map(query)).await;
        let (mut servers, mut ends) = (Vec::new(), Vec::new());
        let (mut plugins, mut errors) = (Vec::new(), Vec::new());
        for answer in answers {
            let (config, dump) = match answer {
                Ok(answer) => answer,
                Err(error) => {
                    errors.push(error);
                    continue;
                }
            };
            let names = dump.plugins.iter().map(|info| info.name.clone()).collect();
            let (server, end) = Server::new(config, dump.protocol, dump.strict_text, names);
            for info in dump.plugins {
                match plugin(&server, info) {
                    Ok(plugin) => plugins.push(plugin),
                    Err(fault) => errors.push(error(&server.config, fault)),
                }
            }
            servers.push(Arc::clone(&server));
            ends.push((server, end));
        }
        if errors.is_empty() {
            Ok((Servers { servers, ends: Mutex::new(ends) }, plugins))
        } else {
            Err(QueryErrors(errors))
        }
    }

    /// Starts the servers and looks after them; done when all have been stopped. To be run on a
    /// thread that lives as long as the gateway: the servers die with it. A second call has nothing
    /// to do and is done at once.
    pub async fn supervise(&self) {
        let ends = self.take_ends();
        join_all(ends.into_iter().map(|(server, end)| supervisor::supervise(server, end))).await;
    }

    /// Waits until each server listens or has failed to, for `within` at most. Requests wait for a
    /// server that is starting anyway; a gateway that asks before it opens its listeners spares the
    /// first of them that.
    ///
    /// # Errors
    /// What is wrong, by server. They are tried again all the same.
    pub async fn up(&self, within: Duration) -> Result<(), Vec<(String, String)>> {
        let settled = async |server: &Arc<Server>| {
            let late = || format!("it has not come up in {within:?}");
            let settled = timeout(within, server.settled()).await;
            let error = settled.unwrap_or_else(|_| Err(late())).err()?;
            Some((server.config.name.clone(), error))
        };
        let errors: Vec<_> =
            join_all(self.servers.iter().map(settled)).await.into_iter().flatten().collect();
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn take_ends(&self) -> Vec<(Arc<Server>, Ends)> {
        std::mem::take(&mut *self.ends.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How each server is.
    pub fn status(&self) -> Vec<ServerStatus> {
        self.servers.iter().map(|server| server.status()).collect()
    }

    /// Replaces the processes of all servers, or of the one of that name: a new one takes over the
    /// socket, and the old one ends when its events are through. Plugins that were not there when
    /// the gateway started are not found this way.
    ///
    /// # Errors
    /// What went wrong, by server. The old process then goes on. Before [`Self::supervise`] there
    /// is nothing to reload, and that is no error.
    pub async fn reload(&self, name: Option<&str>) -> Result<(), Vec<(String, String)>> {
        if !self.ends.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
            return Ok(());
        }
        let chosen = self.servers.iter().filter(|s| name.is_none_or(|n| n == s.config.name));
        let reload = |server: &Arc<Server>| {
            let server = Arc::clone(server);
            async move {
                let (done, answer) = oneshot::channel();
                server.order(Order::Reload(done));
                let answer = answer.await.unwrap_or_else(|_| Err("it was stopped".to_owned()));
                answer.err().map(|error| (server.config.name.clone(), error))
            }
        };
        let errors: Vec<_> = join_all(chosen.map(reload)).await.into_iter().flatten().collect();
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Stops all servers: they are asked to end, and killed when they don't within seconds.
    pub async fn stop(&self) {
        // Those that nobody supervises yet have not been started: nothing answers for them.
        drop(self.take_ends());
        let stop = |server: &Arc<Server>| {
            let (done, stopped) = oneshot::channel();
            server.order(Order::Stop(done));
            stopped
        };
        // An error: its supervisor has gone already.
        join_all(self.servers.iter().map(stop)).await;
    }
}

fn error(config: &Config, fault: String) -> QueryError {
    let (server, command) = (config.name.clone(), config.query_cmd.clone());
    QueryError { server, command, fault }
}

/// Runs a query command and reads what it prints.
async fn query(config: Config) -> Result<(Config, Dump), QueryError> {
    match run_query(&config.query_cmd).await {
        Ok(dump) => {
            if !dump.preamble.is_empty() {
                let text = format!("plugin server '{}' warns: {}", config.name, dump.preamble);
                log(LogLevel::Warn, "", &text);
            }
            Ok((config, dump))
        }
        Err(fault) => Err(error(&config, fault)),
    }
}

async fn run_query(command: &str) -> Result<Dump, String> {
    let output = match timeout(QUERY_TIMEOUT, shell(command).output()).await {
        Err(_) => return Err(format!("it did not end within {QUERY_TIMEOUT:?}")),
        Ok(Err(error)) => return Err(spawn_fault(&error)),
        Ok(Ok(output)) => output,
    };
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let fault = if output.status.success() {
        match info::parse(&stdout) {
            Ok(dump) => return Ok(dump),
            Err(fault) => fault,
        }
    } else if stdout.trim().is_empty() {
        describe(output.status)
    } else {
        format!("{}; it printed: {}", describe(output.status), info::cut(&stdout))
    };
    let stderr = info::cut(&stderr);
    Err(if stderr.is_empty() { fault } else { format!("{fault}; it complained: {stderr}") })
}

fn spawn_fault(error: &io::Error) -> String {
    format!("can't run /bin/sh: {error}")
}

/// Makes a plugin of a server's description of it.
fn plugin(server: &Arc<Server>, info: Info) -> Result<Plugin, String> {
    let schema = Schema::for_plugin(&info.name, &info.schema)
        .map_err(|error| format!("the schema of plugin '{}': {error}", info.name))?;
    let (phases, priority, version) = (info.phases()?, info.priority(), info.version());
    let (server, name) = (Arc::clone(server), info.name);
    let origin = Origin::Server(server.config.name.clone());
    let plugin = name.clone();
    let configure = Box::new(move |configuration: &silverback_pdk::Configuration<'_>| {
        let config = instance::configuration(configuration.entity);
        let instance = server.instance(&plugin, config);
        let handler = |phase| {
            let instance = Arc::clone(&instance);
            phases.contains(phase).then(|| Handler::later(Event { instance, phase }))
        };
        Ok(slots(&handler))
    });
    let keeps = silverback_pdk::Keeps::default();
    Ok(Plugin { name, priority, version, origin, phases, schema, keeps, configure })
}

/// A handler for each phase that has one. The protocols know no header_filter and body_filter.
fn slots(handler: &dyn Fn(Phase) -> Option<Handler>) -> Phases {
    Phases {
        certificate: handler(Phase::Certificate),
        rewrite: handler(Phase::Rewrite),
        access: handler(Phase::Access),
        response: handler(Phase::Response),
        log: handler(Phase::Log),
        preread: handler(Phase::Preread),
        ..Phases::default()
    }
}
