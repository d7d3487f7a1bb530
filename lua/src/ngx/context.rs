//! Where Lua code runs, in nginx's words, and what it keeps with an exchange.

use std::{
    cell::{Cell, RefCell},
    path::PathBuf,
    rc::Rc,
};

use silverback_pdk::{Exchange, Phase};

use crate::current;

/// Where Lua code runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Context {
    /// When a state is made: modules load, schemas are read.
    Init,
    InitWorker,
    Certificate,
    Rewrite,
    Access,
    Content,
    Balancer,
    HeaderFilter,
    BodyFilter,
    Log,
    Preread,
    Timer,
}

/// A set of contexts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Contexts(u16);

impl Contexts {
    const fn of(contexts: &[Context]) -> Contexts {
        let mut bits = 0;
        let mut i = 0;
        while i < contexts.len() {
            bits |= 1 << contexts[i] as u16;
            i += 1;
        }
        Contexts(bits)
    }

    const fn and(self, context: Context) -> Contexts {
        Contexts(self.0 | 1 << context as u16)
    }

    fn contains(self, context: Context) -> bool {
        self.0 & (1 << context as u16) != 0
    }
}

/// While a request is on its way to the upstream.
pub(super) const BEFORE: Contexts =
    Contexts::of(&[Context::Rewrite, Context::Access, Context::Content]);
/// Where Lua code may wait.
pub(super) const WAITING: Contexts =
    BEFORE.and(Context::Certificate).and(Context::Preread).and(Context::Timer);
/// Where there is a request.
pub(super) const REQUEST: Contexts = BEFORE
    .and(Context::Balancer)
    .and(Context::HeaderFilter)
    .and(Context::BodyFilter)
    .and(Context::Log);
/// Where there is a request, a stream or a handshake.
pub(super) const CONNECTION: Contexts = REQUEST.and(Context::Certificate).and(Context::Preread);
/// Where there is a piece of a body.
pub(super) const BODY: Contexts = Contexts::of(&[Context::BodyFilter]);
/// Where a request can still be changed.
pub(super) const CHANGING: Contexts = BEFORE.and(Context::HeaderFilter).and(Context::BodyFilter);
/// Where code may end its own work.
pub(super) const ENDING: Contexts = WAITING.and(Context::Balancer).and(Context::HeaderFilter);

impl Context {
    /// As `ngx.get_phase` says it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Context::Init => "init",
            Context::InitWorker => "init_worker",
            Context::Certificate => "ssl_cert",
            Context::Rewrite => "rewrite",
            Context::Access => "access",
            Context::Content => "content",
            Context::Balancer => "balancer",
            Context::HeaderFilter => "header_filter",
            Context::BodyFilter => "body_filter",
            Context::Log => "log",
            Context::Preread => "preread",
            Context::Timer => "timer",
        }
    }

    /// As errors say it.
    fn title(self) -> String {
        match self {
            Context::Timer => "ngx.timer".to_owned(),
            Context::Certificate => "ssl_certificate_by_lua*".to_owned(),
            other => format!("{}_by_lua*", other.name()),
        }
    }

    fn of(exchange: &Exchange) -> Context {
        match exchange.phase {
            Phase::Timer => Context::Timer,
            Phase::InitWorker | Phase::Configure => Context::InitWorker,
            Phase::Certificate => Context::Certificate,
            Phase::Rewrite => Context::Rewrite,
            Phase::Access => Context::Access,
            Phase::Balancer => Context::Balancer,
            Phase::Response | Phase::AdminApi => Context::Content,
            Phase::HeaderFilter => Context::HeaderFilter,
            Phase::BodyFilter => Context::BodyFilter,
            Phase::Log => Context::Log,
            Phase::Preread => Context::Preread,
        }
    }
}

/// Where Lua code runs now.
pub(super) fn now() -> Context {
    current::with(|exchange| Context::of(exchange)).unwrap_or(Context::Init)
}

/// Whether a function may be called now.
///
/// # Errors
/// OpenResty's text if it may not.
pub(super) fn check(allowed: Contexts) -> Result<(), String> {
    let context = now();
    if allowed.contains(context) {
        return Ok(());
    }
    Err(format!("API disabled in the context of {}", context.title()))
}

/// Works on the exchange, in the contexts that allow it.
///
/// # Errors
/// OpenResty's text if this is none of them.
pub(super) fn with<R>(
    allowed: Contexts,
    work: impl FnOnce(&mut Exchange) -> R,
) -> Result<R, String> {
    let worked =
        current::with(|exchange| allowed.contains(Context::of(exchange)).then(|| work(exchange)));
    if let Some(Some(result)) = worked {
        return Ok(result);
    }
    check(allowed)?;
    Err("no request found".to_owned())
}

thread_local! {
    static LAST_ID: Cell<u64> = const { Cell::new(0) };
    static GONE: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// What Lua code keeps with an exchange.
pub(super) struct Kept {
    /// A number that no other exchange of this worker has: the key of its `ngx.ctx`.
    id: u64,
    /// `ngx.status`, set before there is an answer.
    pub(super) status: Cell<Option<u16>>,
    /// What `ngx.say` and `ngx.print` have said.
    pub(super) output: RefCell<Option<Vec<u8>>>,
    /// What `ngx.req.set_uri` was given.
    pub(super) uri: RefCell<Option<String>>,
    /// Where `ngx.req.get_body_file` has put the body.
    pub(super) body_file: RefCell<Option<PathBuf>>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        // The thread may be ending.
        let _ = GONE.try_with(|gone| gone.borrow_mut().push(self.id));
        if let Some(path) = self.body_file.borrow_mut().take() {
            // Nobody is left who could be told.
            let _ = std::fs::remove_file(path);
        }
    }
}

fn kept_by(exchange: &Exchange) -> Option<Rc<Kept>> {
    exchange.kept.clone()?.downcast().ok()
}

/// What is kept with an exchange.
pub(super) fn kept(exchange: &mut Exchange) -> Rc<Kept> {
    if let Some(kept) = kept_by(exchange) {
        return kept;
    }
    let id = LAST_ID.get() + 1;
    LAST_ID.set(id);
    let kept = Rc::new(Kept {
        id,
        status: Cell::default(),
        output: RefCell::default(),
        uri: RefCell::default(),
        body_file: RefCell::default(),
    });
    exchange.kept = Some(kept.clone());
    kept
}

/// The number of the exchange that Lua code works on; none outside of one.
pub(super) fn id() -> Option<u64> {
    current::with(|exchange| kept(exchange).id)
}

/// The numbers of exchanges that have ended since this was last asked.
pub(super) fn gone() -> Vec<u64> {
    GONE.with_borrow_mut(std::mem::take)
}
