//! A node: everything wired together, from start to stop.
//!
//! Reading order is that of a start: [`plugins`] finds out which plugins there are, [`entities`]
//! loads what is configured and compiles it, [`settings`] tells each crate what it needs to know,
//! [`api`] opens the Admin API, and the loop at the end waits for signals.

mod api;
mod background;
mod console;
pub(crate) mod database;
pub(crate) mod entities;
mod last_good;
pub(crate) mod plugins;
mod settings;
pub(crate) mod vaults;

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use silverback_pdk::LogLevel;
use silverback_proxy as proxy;
use tokio::{
    signal::unix::{SignalKind, signal},
    task::{JoinHandle, LocalSet},
};

use self::{api::Api, entities::Configuration, plugins::Plugins};
pub(crate) use self::{console::Console, settings::hostname};
use crate::{
    allocator,
    conf::{Conf, ENV_FILE, LoadArgs, environment},
    logs,
    prefix::Prefix,
};

/// The version of Kong whose interfaces are spoken: clients check it.
pub(crate) const KONG_VERSION: &str = "3.10.0";

/// How long plugins may take to send what they have when the node stops.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Runs a node until it is told to stop.
///
/// # Errors
/// Why it can't start: nothing is left running then.
pub(crate) fn run(conf: Conf, prefix: &Prefix, console: Console) -> Result<()> {
    prefix.claim()?;
    let outcome = control(conf, prefix, console);
    prefix.release();
    outcome
}

/// The control plane: one thread, everything on it.
fn control(conf: Conf, prefix: &Prefix, console: Console) -> Result<()> {
    logs::start(&conf.logs.proxy_error, conf.log_level)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    proxy::after_freeing(allocator::give_back);
    runtime.block_on(LocalSet::new().run_until(async {
        let began = Instant::now();
        let node = Node::start(conf, prefix, None).await?;
        say(&format!("started in {} ms", began.elapsed().as_millis()));
        console.ready();
        node.serve(prefix).await
    }))?;
    // Logs and counters that are still to be sent.
    silverback_plugins::finish(LAST_WORDS);
    Ok(())
}

fn say(text: &str) {
    silverback_pdk::log(LogLevel::Notice, "", text);
}

/// What runs: one generation of everything. A reload that changes settings starts the next one
/// beside it, then lets this one finish.
struct Node {
    conf: Conf,
    /// What its certificates, keys and templates hold.
    files: u64,
    plugins: Plugins,
    configuration: Rc<Configuration>,
    /// Compiles changes of the database.
    follower: Option<JoinHandle<()>>,
    /// Reads secrets again.
    rotation: JoinHandle<()>,
    proxy: proxy::Handle,
    api: Api,
}

impl Node {
    /// Starts everything; `before` is what it takes over from.
    async fn start(conf: Conf, prefix: &Prefix, before: Option<&Node>) -> Result<Node> {
        settings::allow_open_files(&conf);
        let files = settings::fingerprint(&conf);
        let plugins = Plugins::find(&conf).await?;
        let mut settings = settings::proxy(&conf, prefix)?;
        settings.hooks.extend(plugins.lua.iter().map(|lua| Arc::clone(&lua.hook)));
        let known = before.map(|before| &*before.configuration);
        let configuration = Configuration::load(&conf, prefix, &plugins.registry, &settings, known);
        let configuration = Rc::new(configuration.await?);
        plugins::follow_others(&configuration.store);
        if let Some(lua) = &plugins.lua {
            lua.connect(Arc::clone(&configuration.store));
        }
        // Workers ask for plugins as soon as they listen: their servers are started first.
        plugins.start();
        let proxy = proxy::start_after(
            settings,
            Arc::clone(&configuration.snapshot),
            before.map(|b| &b.proxy),
        )
        .context("can't start the proxy")?;
        let api = Api::start(&conf, prefix, &plugins, &configuration, &proxy).await?;
        let follower = configuration.follow();
        let rotation = configuration.rotate_secrets();
        Ok(Node { conf, files, plugins, configuration, follower, rotation, proxy, api })
    }

    /// Waits for signals: TERM and INT stop, QUIT lets requests finish, HUP reloads, USR1 opens
    /// the logs again.
    async fn serve(mut self, prefix: &Prefix) -> Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut quit = signal(SignalKind::quit())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let mut reopen = signal(SignalKind::user_defined1())?;
        loop {
            tokio::select! {
                _ = terminate.recv() => break self.stop(false).await,
                _ = interrupt.recv() => break self.stop(false).await,
                _ = quit.recv() => break self.stop(true).await,
                _ = hangup.recv() => self.reload(prefix).await?,
                _ = reopen.recv() => {
                    logs::reopen();
                    self.proxy.reopen_log();
                }
            };
        }
    }

    async fn stop(mut self, gracefully: bool) -> Result<()> {
        say(if gracefully { "quitting: requests are finished first" } else { "stopping" });
        self.api.stop();
        if let Some(follower) = &self.follower {
            follower.abort();
        }
        self.rotation.abort();
        // Waiting for workers blocks, and plugin servers need this thread until they are done.
        let proxy = self.proxy;
        let end = move || if gracefully { proxy.drain() } else { proxy.stop() };
        tokio::task::spawn_blocking(end).await.context("a worker could not be stopped")?;
        self.plugins.servers.stop().await;
        Ok(())
    }

    /// Reads the settings again. Only the declarative file is loaded anew where nothing else has
    /// changed; other settings, or files that they name, take a new generation. What is wrong
    /// changes nothing.
    async fn reload(&mut self, prefix: &Prefix) -> Result<()> {
        let outcome = match reread(prefix, &self.conf) {
            Ok(conf) if conf == self.conf && settings::fingerprint(&conf) == self.files => {
                self.reload_configuration().await
            }
            Ok(conf) => self.replace(conf, prefix).await,
            Err(error) => Err(error),
        };
        let error = outcome.err().map(|error| format!("{error:#}")).unwrap_or_default();
        if error.is_empty() {
            say("reloaded");
        } else {
            let text = format!("not reloaded, the old configuration stays: {error}");
            silverback_pdk::log(LogLevel::Err, "", &text);
        }
        prefix.record_reload(&error)
    }

    async fn reload_configuration(&mut self) -> Result<()> {
        self.configuration.reload(&self.conf)?;
        self.plugins.servers.reload(None).await.map_err(|errors| {
            let errors = errors.into_iter().map(|(name, error)| format!("{name}: {error}"));
            anyhow!("plugin servers: {}", errors.collect::<Vec<_>>().join("; "))
        })
    }

    async fn replace(&mut self, conf: Conf, prefix: &Prefix) -> Result<()> {
        let next = Node::start(conf, prefix, Some(self)).await?;
        logs::set_level(next.conf.log_level);
        let last = std::mem::replace(self, next);
        tokio::task::spawn_local(last.stop(true));
        Ok(())
    }
}

/// The settings as `reload` has left them in the prefix; where a signal came without it, those that
/// there are.
fn reread(prefix: &Prefix, now: &Conf) -> Result<Conf> {
    let file = prefix.path().join(ENV_FILE);
    if !file.exists() {
        now.write_env_file(prefix.path())?;
    }
    let args = LoadArgs {
        conf: Some(file),
        prefix: Some(prefix.path().to_owned()),
        variables: environment(),
        ..LoadArgs::default()
    };
    Ok(Conf::load(&args)?.conf)
}
