//! A handler's turn, with those of the handlers behind it that are entered together.

use std::{any::Any, rc::Rc, sync::Arc};

use futures_util::{
    FutureExt,
    future::{LocalBoxFuture, ready},
};
use silverback_pdk::{Alone, Begun, Behind, Exchange, Flow, Phase, Turns, Wait};

use super::{Instance, Shared};
use crate::{
    current::{Place, TOGETHER_MAX},
    ngx,
    raw::plain,
    scheduler::{self, Ending},
    state::State,
    together::{Group, Ready},
};

/// A handler: an instance's turn in a phase.
pub(super) struct Turn {
    pub(super) instance: Arc<Instance>,
    pub(super) phase: Phase,
}

impl Wait for Turn {
    fn run<'a>(&'a self, exchange: &'a mut Exchange) -> LocalBoxFuture<'a, Flow> {
        match self.begin(exchange, &Alone) {
            Begun::Done(turns) => Box::pin(ready(turns.flow)),
            Begun::Waits(rest) => rest,
            Begun::Together(rest) => Box::pin(rest.map(|turns| turns.flow)),
        }
    }

    fn begin<'a>(&'a self, exchange: &'a mut Exchange, behind: &dyn Behind) -> Begun<'a> {
        let over = |text| Begun::Done(Turns { count: 1, flow: Flow::Fail(text) });
        let state = match self.instance.known.shared.state_for(exchange) {
            Ok(state) => state,
            Err(text) => return over(text),
        };
        let ready = match behind.key().and_then(|key| state.remembered(key)) {
            Some(ready) => ready,
            None => match self.ready(&state, exchange, behind) {
                Ok(Some(ready)) => ready,
                Ok(None) => return Begun::Done(Turns { count: 1, flow: Flow::Next }),
                // What can't be had may be that of one of the others: it fails at its own turn.
                Err(_) if behind.get(0).is_some() => return self.begin(exchange, &Alone),
                Err(text) => return over(text),
            },
        };
        match scheduler::begin(&state, exchange, &ready.group.values, &ready.numbers) {
            Ok((ending, place)) => Begun::Done(turns(exchange, ending, place)),
            Err(started) => Begun::Together(Box::pin(async move {
                let numbers = &ready.numbers;
                let (ending, place) = scheduler::go_on(&state, exchange, started, numbers).await;
                turns(exchange, ending, place)
            })),
        }
    }
}

/// Handlers that run together.
struct Members {
    count: usize,
    /// The phase and the ids of the instances.
    key: [u64; TOGETHER_MAX + 1],
    /// The instances, as the view counts them.
    numbers: [u32; TOGETHER_MAX],
}

impl Members {
    fn key(&self) -> &[u64] {
        self.key.get(..=self.count).unwrap_or_default()
    }

    /// Those of several; none if it is one.
    fn numbers(&self) -> &[u32] {
        if self.count > 1 { self.numbers.get(..self.count).unwrap_or_default() } else { &[] }
    }
}

/// The handler of this host behind another.
fn next<'a>(shared: &Arc<Shared>, behind: &'a dyn Behind, place: usize) -> Option<(u32, &'a Turn)> {
    let (number, other) = behind.get(place)?;
    let other: &dyn Any = other;
    let turn = other.downcast_ref::<Turn>()?;
    Arc::ptr_eq(&turn.instance.known.shared, shared).then_some((number, turn))
}

impl Turn {
    /// The handlers that run with this one: those behind it as long as they are of this host.
    fn members(&self, own: Option<u32>, behind: &dyn Behind) -> Members {
        let mut members =
            Members { count: 1, key: [0; TOGETHER_MAX + 1], numbers: [0; TOGETHER_MAX] };
        let [phase, first, others @ ..] = &mut members.key;
        (*phase, *first) = (self.phase as u64, self.instance.id);
        if let Some(first) = members.numbers.first_mut() {
            *first = own.unwrap_or_default();
        }
        let shared = &self.instance.known.shared;
        for (place, id) in others.iter_mut().enumerate() {
            let Some((number, other)) = next(shared, behind, place) else { break };
            *id = other.instance.id;
            if let Some(to) = members.numbers.get_mut(place + 1) {
                *to = number;
            }
            members.count += 1;
        }
        members
    }

    /// What is called for this handler and those that run with it; nothing if there is nothing to
    /// call.
    ///
    /// # Errors
    /// If a handler can't be loaded, or there is no memory.
    #[cold]
    fn ready(
        &self,
        state: &Rc<State>,
        exchange: &Exchange,
        behind: &dyn Behind,
    ) -> Result<Option<Rc<Ready>>, String> {
        let members = self.members(exchange.running, behind);
        let group = match state.group(members.key()) {
            Some(group) => group,
            None => match self.prepare(state, exchange, behind, &members)? {
                Some(group) => group,
                None => return Ok(None),
            },
        };
        let ready = Rc::new(Ready { group, numbers: members.numbers().to_vec() });
        if let Some(key) = behind.key() {
            state.remember(key, &ready);
        }
        Ok(Some(ready))
    }

    /// Makes what is called for them; nothing if there is nothing to call.
    ///
    /// # Errors
    /// If a handler can't be loaded, or there is no memory.
    #[cold]
    fn prepare(
        &self,
        state: &Rc<State>,
        exchange: &Exchange,
        behind: &dyn Behind,
        members: &Members,
    ) -> Result<Option<Rc<Group>>, String> {
        let shared = &self.instance.known.shared;
        let others =
            (0..members.count - 1).filter_map(|place| Some(next(shared, behind, place)?.1));
        let mut handlers = Vec::new();
        for Turn { instance, phase } in std::iter::once(self).chain(others) {
            let class = state.handler_class(&instance.known.name).map_err(|error| plain(&error))?;
            let conf = state.conf(instance, &*exchange.view).map_err(|e| plain(&e))?;
            let Some(function) = class.function(*phase) else { return Ok(None) };
            let member = (function.clone(), class.value.clone(), conf);
            handlers.push((instance.clone(), member));
        }
        let group = state.watched(|| state.make_group(members.key(), &handlers));
        group.map(Some).map_err(|error| plain(&error))
    }
}

/// What follows from how handlers have ended.
fn turns(exchange: &mut Exchange, ending: Ending, place: Place) -> Turns {
    let flow = match ending {
        Ending::Done(_) => ngx::finish(exchange).unwrap_or(Flow::Next),
        Ending::Flow(flow) => flow,
        Ending::Failed(text) => Flow::Fail(text),
    };
    Turns { count: place.index().unwrap_or_default() + 1, flow }
}
