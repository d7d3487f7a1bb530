//! Running a chain: a phase's handlers in order, until one exits or fails.

use silverback_pdk::{Answer, Behind, Exchange, Flow, Handler, LogLevel, Phase, Turns, Wait};
use uuid::Uuid;

use super::{Chain, ChainOf, Chains, Instance, Slot};
use crate::{
    answer,
    lifecycle::Work,
    snapshot::{Slots, Snapshot},
    worker::Live,
};

/// Whose handlers the later phases run.
#[derive(Debug, Default)]
pub(crate) enum Ran {
    /// Those for all requests: access was never reached.
    #[default]
    Globals,
    /// Those of a chain in which the consumer does not matter.
    Chain(ChainOf),
    /// Those that access has chosen.
    Collected(Vec<u32>),
}

/// Why a phase came to no end.
struct Cut {
    answer: Box<Answer>,
    why: Why,
}

/// What has cut a phase short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// A plugin exits.
    Exit,
    /// This one does, and those whose turn comes later have none in any phase.
    Send(u32),
    /// A plugin failed.
    Fail,
}

impl From<Cut> for Box<Answer> {
    fn from(cut: Cut) -> Box<Answer> {
        cut.answer
    }
}

/// The handlers of the certificate phase.
///
/// # Errors
/// If a plugin ends the handshake.
pub(crate) async fn certificate(live: &Live, exchange: &mut Exchange) -> Result<(), Box<Answer>> {
    let list = live.snapshot.chains.certificate(exchange.session.is_some());
    Ok(run_list(live, exchange, List::lasting(list), Phase::Certificate).await?)
}

/// The handlers of the preread phase of a stream. Nobody authenticates there: instances for
/// consumers never run.
///
/// # Errors
/// With the answer of a plugin that exits or fails.
pub(crate) async fn preread(work: &mut Work) -> Result<(), Box<Answer>> {
    let live = work.live.clone();
    work.ran = Ran::Chain(work.chain);
    let chain = live.snapshot.chain(work.chain);
    let list = List::lasting(&chain.lists.preread);
    Ok(run_list(&live, &mut work.exchange, list, Phase::Preread).await?)
}

/// The handlers of the rewrite phase: those for all requests, whatever their route will be.
///
/// # Errors
/// With the answer of a plugin that exits or fails.
pub(crate) async fn rewrite(work: &mut Work) -> Result<(), Box<Answer>> {
    let live = work.live.clone();
    let list = &live.snapshot.chains.globals.rewrite;
    Ok(run_list(&live, &mut work.exchange, List::lasting(list), Phase::Rewrite).await?)
}

/// The handlers of the access phase, and the choice of what runs later.
///
/// # Errors
/// With the answer of a plugin that exits or fails. Those after it are chosen all the same, unless
/// the answer has been sent.
pub(crate) async fn access(work: &mut Work) -> Result<(), Box<Answer>> {
    let live = work.live.clone();
    let chain = live.snapshot.chain(work.chain);
    if !chain.slots.is_empty() && work.exchange.response.headers.capacity() == 0 {
        // What plugins say to the client from here on is joined by the upstream's headers: the map
        // is to have room for them.
        work.exchange.response.headers = work.worker.spare_headers();
    }
    if chain.has_consumers {
        return collect(&live, work, chain).await;
    }
    work.ran = Ran::Chain(work.chain);
    let list = List::lasting(&chain.access);
    let outcome = run_list(&live, &mut work.exchange, list, Phase::Access).await;
    if let Err(Cut { why: Why::Send(last), .. }) = outcome {
        let all: Vec<_> = chain.slots.iter().filter_map(|slot| slot.plain).collect();
        let end = all.iter().position(|number| *number == last).map_or(all.len(), |at| at + 1);
        work.ran = Ran::Collected(all.into_iter().take(end).collect());
    }
    Ok(outcome?)
}

/// Chooses the instance of each plugin at its turn, by the consumer that is known then.
async fn collect(live: &Live, work: &mut Work, chain: &Chain) -> Result<(), Box<Answer>> {
    work.ran = Ran::Collected(Vec::with_capacity(chain.slots.len()));
    work.exchange.phase = Phase::Access;
    let mut outcome = Ok(());
    for slot in &chain.slots {
        let Some(number) = live.snapshot.chains.choose(slot, &work.exchange) else { continue };
        // Noted before it runs: a client that vanishes meanwhile is logged by it.
        if let Ran::Collected(collected) = &mut work.ran {
            collected.push(number);
        }
        if outcome.is_ok() {
            let list = List { numbers: &[number], lasts: false };
            outcome = run_some(live, &mut work.exchange, list, Phase::Access).await.1;
        }
        if matches!(outcome, Err(Cut { why: Why::Send(_), .. })) {
            break;
        }
    }
    work.exchange.running = None;
    Ok(outcome?)
}

impl Chains {
    fn choose(&self, slot: &Slot, exchange: &Exchange) -> Option<u32> {
        let of_consumer = || {
            let consumer = exchange.client.consumer.as_ref()?.get("id")?.as_str()?;
            let consumer = Uuid::parse_str(consumer).ok()?;
            let table = |table: &u32| self.tables.get(*table as usize)?.get(&consumer).copied();
            slot.tables.iter().find_map(table)
        };
        if slot.tables.is_empty() { slot.plain } else { of_consumer().or(slot.plain) }
    }

    /// The handlers of TLS handshakes, before a request or a stream.
    fn certificate(&self, stream: bool) -> &[u32] {
        if stream { &self.streams.lists.certificate } else { &self.globals.certificate }
    }
}

impl Snapshot {
    pub(crate) fn chain(&self, of: ChainOf) -> &Chain {
        match of {
            ChainOf::Requests => self.chains.common(false),
            ChainOf::Streams => self.chains.common(true),
            ChainOf::Route(route) => match self.route(route) {
                Some(route) => match &route.chain {
                    Some(own) => own,
                    None => self.chains.common(route.stream),
                },
                None => self.chains.common(false),
            },
        }
    }

    /// The instances that may have a handler in a later phase.
    fn later<'a>(&'a self, ran: &'a Ran, phase: Phase) -> List<'a> {
        match ran {
            Ran::Globals => List::lasting(self.chains.globals.later(phase)),
            Ran::Chain(chain) => List::lasting(self.chain(*chain).lists.later(phase)),
            Ran::Collected(collected) => List { numbers: collected, lasts: false },
        }
    }
}

impl Live {
    /// Whether any plugin has a say in TLS handshakes.
    pub(crate) fn has_certificate_handlers(&self, stream: bool) -> bool {
        !self.snapshot.chains.certificate(stream).is_empty()
    }

    /// Whether any handler waits in a later phase.
    pub(crate) fn has_handlers(&self, ran: &Ran, phase: Phase) -> bool {
        let has = |number: &u32| {
            let instance = self.snapshot.instances.get(*number);
            instance.is_some_and(|i| i.phases.get(phase).is_some())
        };
        let list = self.snapshot.later(ran, phase);
        !list.numbers.is_empty() && (list.lasts || list.numbers.iter().any(has))
    }
}

/// The handlers of the response phase.
///
/// # Errors
/// With the answer of a plugin that exits or fails.
pub(crate) async fn response(work: &mut Work) -> Result<(), Box<Answer>> {
    let Work { exchange, live, ran, .. } = work;
    let list = live.snapshot.later(ran, Phase::Response);
    Ok(run_list(live, exchange, list, Phase::Response).await?)
}

/// The handlers of the header_filter phase. An exit changes the answer that those after it see.
/// False if one of them failed.
pub(crate) async fn header_filter(work: &mut Work) -> bool {
    let Work { exchange, live, ran, .. } = work;
    exchange.phase = Phase::HeaderFilter;
    let mut list = live.snapshot.later(ran, Phase::HeaderFilter);
    while !list.numbers.is_empty() {
        let (turns, outcome) = run_some(live, exchange, list, Phase::HeaderFilter).await;
        list = list.after(turns);
        match outcome {
            Ok(()) => {}
            Err(Cut { why: Why::Fail, .. }) => return false,
            Err(cut) => answer::put(exchange, *cut.answer),
        }
    }
    exchange.running = None;
    true
}

/// The handlers of the body_filter phase, for one piece of the body. False if one of them failed.
pub(crate) async fn body_filter(work: &mut Work) -> bool {
    let Work { exchange, live, ran, .. } = work;
    let list = live.snapshot.later(ran, Phase::BodyFilter);
    run_list(live, exchange, list, Phase::BodyFilter).await.is_ok()
}

/// The handlers of the log phase. One that fails does not keep others from their turn.
pub(crate) async fn log(work: &mut Work) {
    let Work { exchange, live, ran, .. } = work;
    exchange.phase = Phase::Log;
    let mut list = live.snapshot.later(ran, Phase::Log);
    while !list.numbers.is_empty() {
        // What happened is in the log already, and there is nobody left to answer.
        let (turns, _) = run_some(live, exchange, list, Phase::Log).await;
        list = list.after(turns);
    }
}

async fn run_list(
    live: &Live,
    exchange: &mut Exchange,
    mut list: List<'_>,
    phase: Phase,
) -> Result<(), Cut> {
    exchange.phase = phase;
    while !list.numbers.is_empty() {
        let (turns, outcome) = run_some(live, exchange, list, phase).await;
        outcome?;
        list = list.after(turns);
    }
    exchange.running = None;
    Ok(())
}

/// Instances whose turn comes in their order.
#[derive(Clone, Copy)]
struct List<'a> {
    numbers: &'a [u32],
    /// Whether it is part of the snapshot, rather than made for one request.
    lasts: bool,
}

impl<'a> List<'a> {
    fn lasting(numbers: &'a [u32]) -> List<'a> {
        List { numbers, lasts: true }
    }

    /// What is left of it after so many.
    fn after(self, turns: usize) -> List<'a> {
        List { numbers: self.numbers.get(turns..).unwrap_or_default(), ..self }
    }
}

/// The handlers behind one that runs.
struct Next<'a> {
    instances: &'a Slots<Instance>,
    list: List<'a>,
    /// The number of what the worker serves by.
    live: u64,
    phase: Phase,
}

impl Behind for Next<'_> {
    fn get(&self, place: usize) -> Option<(u32, &dyn Wait)> {
        let number = *self.list.numbers.get(place)?;
        match self.instances.get(number)?.phases.get(self.phase)? {
            Handler::Later(handler) => Some((number, &**handler)),
            Handler::Now(_) => None,
        }
    }

    fn key(&self) -> Option<(u64, usize)> {
        // Nothing else is where a list of the snapshot is, as long as that lives.
        self.list.lasts.then(|| (self.live, self.list.numbers.as_ptr().addr()))
    }
}

/// Runs the first handler of a list, with those behind it that it takes along: how many had their
/// turn, and what came of the last.
async fn run_some(
    live: &Live,
    exchange: &mut Exchange,
    list: List<'_>,
    phase: Phase,
) -> (usize, Result<(), Cut>) {
    let instances = &live.snapshot.instances;
    let Some(&number) = list.numbers.first() else { return (0, Ok(())) };
    let Some(handler) = instances.get(number).and_then(|first| first.phases.get(phase)) else {
        return (1, Ok(()));
    };
    exchange.running = Some(number);
    let behind = Next { instances, list: list.after(1), live: live.number, phase };
    let Turns { count, flow } = handler.run_with(exchange, &behind).await;
    let last = list.numbers.get(count.saturating_sub(1)).copied().unwrap_or(number);
    (count.max(1), outcome(live, exchange, last, flow, phase))
}

/// What becomes of a phase after a handler has decided.
fn outcome(
    live: &Live,
    exchange: &mut Exchange,
    number: u32,
    flow: Flow,
    phase: Phase,
) -> Result<(), Cut> {
    match flow {
        Flow::Next => Ok(()),
        Flow::Exit(answer) => Err(Cut { answer: Box::new(answer), why: Why::Exit }),
        Flow::Send(answer) => Err(Cut { answer: Box::new(answer), why: Why::Send(number) }),
        Flow::Fail(text) => {
            let text = format!("{phase}: {text}, request_id: {}", exchange.request.id.as_str());
            let plugin = live.snapshot.instances.get(number).map_or("", |i| i.plugin.as_str());
            silverback_pdk::log(LogLevel::Err, plugin, &text);
            let status = http::StatusCode::INTERNAL_SERVER_ERROR;
            Err(Cut { answer: answer::error(exchange, status, None), why: Why::Fail })
        }
    }
}
