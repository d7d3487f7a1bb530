//! Running Lua: a handler runs on a coroutine, which yields only when it must wait.
//!
//! A run is a handler, a timer or the like, with the light threads that it starts
//! (`ngx.thread.spawn`). Lua code of a run never runs at the same time; what it waits for does.
//! Dropping a run, as when the client is gone, forgets its coroutines.

use std::{
    collections::{HashMap, VecDeque},
    rc::Rc,
};

use futures_util::{
    FutureExt, StreamExt,
    future::{AbortHandle, Abortable, Aborted, LocalBoxFuture},
    stream::FuturesUnordered,
};
use mlua::{Function, Lua, MultiValue, Value};
use silverback_pdk::{Exchange, Flow};

use crate::{
    bind::OverExchange,
    current,
    current::Place,
    ngx,
    raw::{self, Anchor, Coroutine, Outcome, Step},
    state::State,
};

/// What a coroutine waits for.
pub(crate) enum Wait {
    /// A future that needs nothing of the exchange.
    Free(LocalBoxFuture<'static, Delivered>),
    /// One that does: no other thread of the run has a turn until it is done.
    Exchange(OverExchange),
    /// Nothing: the run ends here, with all its threads.
    End(Flow),
}

/// What a coroutine is given when it goes on.
pub(crate) enum Delivered {
    /// Nothing.
    Nothing,
    /// For a fast function.
    Outcome(Outcome),
    /// For the others.
    Lua(MakeValues),
}

/// Makes Lua's values of what has come.
type MakeValues = Box<dyn FnOnce(&Lua) -> Result<MultiValue, String>>;

/// How a run ended.
pub(crate) enum Ending {
    /// All its threads returned. What the first one returned, where that was asked for.
    Done(MultiValue),
    /// A function ended it: what becomes of the request.
    Flow(Flow),
    /// The first thread failed: the error and its traceback.
    Failed(String),
}

/// Told what came of a light thread: its results, or its error.
pub(crate) type OnEnd = Box<dyn FnOnce(&Lua, Result<MultiValue, String>)>;

/// A light thread.
pub(crate) struct Light {
    /// Its number, unique on this worker.
    pub(crate) id: u64,
    coroutine: Coroutine,
    start: Option<(Function, Vec<Value>)>,
    on_end: Option<OnEnd>,
    /// Whose it is, of handlers that run together.
    place: Place,
}

/// Starts a light thread beside the one that runs now. It has its turn when that waits.
///
/// # Errors
/// If there is no memory.
pub(crate) fn spawn(
    state: &State,
    function: Function,
    args: Vec<Value>,
    on_end: OnEnd,
) -> mlua::Result<u64> {
    let coroutine = state.coroutine()?;
    let id = state.next_id();
    let (start, place) = (Some((function, args)), current::place());
    let light = Light { id, coroutine, start, on_end: Some(on_end), place };
    state.inbox.spawned.borrow_mut().push(light);
    Ok(id)
}

/// Runs a function to its end: of all threads that it starts.
pub(crate) async fn run(
    state: &Rc<State>,
    exchange: &mut Exchange,
    function: &Function,
    args: &[&Value],
    wants_results: bool,
) -> Ending {
    let coroutine = match state.coroutine() {
        Ok(coroutine) => coroutine,
        Err(error) => return Ending::Failed(error.to_string()),
    };
    let step = state.enter(exchange, || coroutine.start(&state.lua, function, args));
    // Most handlers never wait.
    if matches!(step, Step::Finished) && state.inbox.spawned.borrow().is_empty() {
        return finished(state, coroutine, wants_results);
    }
    let place = Place::ALONE;
    let first = Light { id: state.next_id(), coroutine, start: None, on_end: None, place };
    Box::pin(Run::new(state, wants_results, &[]).drive(exchange, first, step)).await.0
}

/// Handlers that have begun and are not at their end.
pub(crate) struct Started {
    first: Light,
    step: Step,
}

/// Begins to run handlers: the first of the values is called with the others. `numbers` are the
/// instances if there are several; the handlers are then one function of [`crate::together`].
/// The ending, if none of them has to wait, and whose it was.
///
/// # Errors
/// With what is to be [gone on with](go_on) if one waits.
pub(crate) fn begin(
    state: &State,
    exchange: &mut Exchange,
    values: &[Anchor],
    numbers: &[u32],
) -> Result<(Ending, Place), Box<Started>> {
    let mut place = if numbers.is_empty() { Place::ALONE } else { Place::FIRST };
    let coroutine = match state.coroutine() {
        Ok(coroutine) => coroutine,
        Err(error) => return Ok((Ending::Failed(error.to_string()), place)),
    };
    let step = state
        .enter_at(exchange, numbers, &mut place, || coroutine.start_anchored(&state.lua, values));
    if matches!(step, Step::Finished) && state.inbox.spawned.borrow().is_empty() {
        state.keep(coroutine);
        return Ok((Ending::Done(MultiValue::new()), place));
    }
    let first = Light { id: state.next_id(), coroutine, start: None, on_end: None, place };
    Err(Box::new(Started { first, step }))
}

/// Goes on with handlers that have begun.
pub(crate) async fn go_on(
    state: &Rc<State>,
    exchange: &mut Exchange,
    started: Box<Started>,
    numbers: &[u32],
) -> (Ending, Place) {
    let Started { first, step } = *started;
    Run::new(state, false, numbers).drive(exchange, first, step).await
}

fn finished(state: &State, coroutine: Coroutine, wants_results: bool) -> Ending {
    let results = if wants_results { coroutine.results(&state.lua) } else { Ok(MultiValue::new()) };
    state.keep(coroutine);
    match results {
        Ok(results) => Ending::Done(results),
        Err(error) => Ending::Failed(error.to_string()),
    }
}

/// A run that has begun to wait.
struct Run<'a> {
    state: &'a Rc<State>,
    wants_results: bool,
    /// The instances of handlers that run together.
    numbers: &'a [u32],
    /// The first thread.
    first: u64,
    /// Whose turn it was when the run ended.
    place: Place,
    results: Option<MultiValue>,
    ready: VecDeque<(Light, Delivered)>,
    waiting: FuturesUnordered<Abortable<LocalBoxFuture<'static, (Light, Delivered)>>>,
    /// How the threads that wait, but for the first, are stopped.
    aborts: HashMap<u64, AbortHandle>,
}

impl<'a> Run<'a> {
    fn new(state: &'a Rc<State>, wants_results: bool, numbers: &'a [u32]) -> Run<'a> {
        Run {
            state,
            wants_results,
            numbers,
            first: 0,
            place: Place::ALONE,
            results: None,
            ready: VecDeque::new(),
            waiting: FuturesUnordered::new(),
            aborts: HashMap::new(),
        }
    }

    /// Runs to the end: which, and whose turn it was.
    async fn drive(mut self, exchange: &mut Exchange, first: Light, step: Step) -> (Ending, Place) {
        self.first = first.id;
        self.place = first.place;
        if let Some(ending) = self.took(exchange, first, step).await {
            return (ending, self.place);
        }
        loop {
            self.forget_killed();
            let next = match self.ready.pop_front() {
                Some(next) => Some(next),
                None => match self.waiting.next().await {
                    Some(Ok(next)) => Some(next),
                    // A thread that was killed has stopped waiting.
                    Some(Err(Aborted)) => continue,
                    None => None,
                },
            };
            let Some((mut light, delivered)) = next else {
                return (Ending::Done(self.results.unwrap_or_default()), self.place);
            };
            self.aborts.remove(&light.id);
            let Light { coroutine, start, place, .. } = &mut light;
            let step = self.state.enter_at(exchange, self.numbers, place, || match start.take() {
                Some((function, args)) => {
                    let args: Vec<&Value> = args.iter().collect();
                    coroutine.start(&self.state.lua, &function, &args)
                }
                None => {
                    self.state.inbox.delivered.set(Some(delivered));
                    coroutine.resume(&self.state.lua)
                }
            });
            if light.id == self.first {
                self.place = light.place;
            }
            if let Some(ending) = self.took(exchange, light, step).await {
                return (ending, self.place);
            }
        }
    }

    /// Takes the threads out that were killed.
    fn forget_killed(&mut self) {
        let mut killed = self.state.inbox.killed.borrow_mut();
        if killed.is_empty() {
            return;
        }
        self.ready.retain(|(light, _)| !killed.remove(&light.id));
        killed.retain(|id| match self.aborts.remove(id) {
            Some(handle) => {
                handle.abort();
                false
            }
            None => true,
        });
    }

    /// What follows from a thread's step; an ending if it ends the whole run.
    async fn took(&mut self, exchange: &mut Exchange, light: Light, step: Step) -> Option<Ending> {
        let state = self.state;
        let spawned = std::mem::take(&mut *state.inbox.spawned.borrow_mut());
        self.ready.extend(spawned.into_iter().map(|light| (light, Delivered::Nothing)));
        match step {
            Step::Finished => return self.finished(light),
            Step::Failed(text) => return self.failed(light, text),
            // Others may wait for it, which would never end.
            Step::Stopped(text) => return Some(Ending::Failed(text)),
            Step::Yielded => self.ready.push_back((light, Delivered::Nothing)),
            Step::Waiting => match state.inbox.wait.take() {
                Some(Wait::Free(future)) => {
                    let (handle, registration) = AbortHandle::new_pair();
                    if light.id != self.first {
                        self.aborts.insert(light.id, handle);
                    }
                    let future = future.map(|delivered| (light, delivered)).boxed_local();
                    self.waiting.push(Abortable::new(future, registration));
                }
                Some(Wait::Exchange(work)) => {
                    let outcome = work(exchange).await;
                    self.ready.push_front((light, Delivered::Outcome(outcome)));
                }
                None => self.ready.push_back((light, Delivered::Nothing)),
                Some(Wait::End(flow)) => return Some(Ending::Flow(flow)),
            },
        }
        None
    }

    fn finished(&mut self, light: Light) -> Option<Ending> {
        let lua = &self.state.lua;
        let first = light.id == self.first;
        let wanted = light.on_end.is_some() || (first && self.wants_results);
        let results = if wanted { light.coroutine.results(lua) } else { Ok(MultiValue::new()) };
        self.state.keep(light.coroutine);
        if let Some(on_end) = light.on_end {
            on_end(lua, results.map_err(|error| error.to_string()));
        } else if first {
            match results {
                Ok(results) => self.results = Some(results),
                Err(error) => return Some(Ending::Failed(error.to_string())),
            }
        }
        None
    }

    fn failed(&mut self, light: Light, text: String) -> Option<Ending> {
        match light.on_end {
            Some(on_end) => {
                on_end(&self.state.lua, Err(text));
                None
            }
            None => Some(Ending::Failed(text)),
        }
    }
}

impl State {
    /// The same for one of handlers that run together.
    fn enter_at(
        &self,
        exchange: &mut Exchange,
        numbers: &[u32],
        place: &mut Place,
        run: impl FnOnce() -> Step,
    ) -> Step {
        if numbers.is_empty() {
            return self.enter(exchange, run);
        }
        let said = ngx::has_said(exchange);
        current::together(numbers, said, place, || self.enter(exchange, run))
    }

    /// Lets Lua run with an exchange to work on.
    fn enter(&self, exchange: &mut Exchange, run: impl FnOnce() -> Step) -> Step {
        self.follow_level();
        let (step, stopped) = self.pulse.turn(|| current::enter(exchange, run));
        if stopped {
            self.inbox.wait.take();
            return Step::Stopped(self.pulse.message());
        }
        if let Step::Failed(text) = &step
            && raw::is_of_memory(text)
        {
            self.refused();
        }
        step
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, time::Duration};

    use mlua::Table;

    use super::*;
    use crate::{
        bind,
        raw::Out,
        testing::{exchange, run, state, texts},
    };

    /// A state with the functions that the tests wait by.
    fn with_waits() -> Rc<State> {
        let state = state();
        let test: Table = state.global_table("test").expect("a table");
        let sleep = bind::waits(&state, |_, args| {
            let text = args.front().and_then(Value::as_string).map(|s| s.to_string_lossy());
            let text = text.ok_or("a text is missing")?;
            Ok(async move {
                tokio::time::sleep(Duration::from_millis(5)).await;
                if text == "bad" { Err("it went bad".to_owned()) } else { Ok(text) }
            }
            .boxed_local())
        });
        test.set("sleep", sleep.expect("a function")).expect("set");
        let method = bind::fast_waits(&state, |_| {
            bind::Begun::Exchange(Box::new(|exchange: &mut Exchange| {
                async move {
                    tokio::task::yield_now().await;
                    Outcome::One(Out::Owned(exchange.request.method.to_string().into_bytes()))
                }
                .boxed_local()
            }))
        });
        test.set("method", method.expect("a function")).expect("set");
        let raise = bind::fast(&state, |_| Outcome::Raise("wrong".to_owned()));
        test.set("raise", raise.expect("a function")).expect("set");
        let weak = Rc::downgrade(&state);
        let end = bind::fast(&state, move |_| {
            let state = weak.upgrade().expect("a state");
            state.inbox.wait.set(Some(Wait::End(Flow::Fail("ended".to_owned()))));
            Outcome::Never
        });
        test.set("exit", end.expect("a function")).expect("set");
        state
    }

    #[track_caller]
    fn check(source: &str, expect: Result<&str, &str>) {
        let state = with_waits();
        let ending = run(&state, &mut exchange(), source);
        match (texts(ending), expect) {
            (Ok(text), Ok(expect)) => assert_eq!(text, expect),
            (Err(text), Err(expect)) => assert!(text.contains(expect), "{text}"),
            (got, expect) => panic!("{got:?} instead of {expect:?}"),
        }
    }

    #[test]
    fn a_handler_waits_wherever_it_is() {
        check("return 1, 'a'", Ok("1 a"));
        check("return test.sleep('a') .. test.sleep('b')", Ok("ab"));
        check("return test.method() .. test.method()", Ok("GETGET"));
        check("return pcall(function() return test.sleep('in pcall') end)", Ok("true in pcall"));
        check("return coroutine.wrap(function() return test.sleep('deep') end)()", Ok("deep"));
        check(
            "local co = coroutine.create(function(a) local b = coroutine.yield(a .. test.sleep('x'))
               return test.sleep(b) end)
             local _, a = coroutine.resume(co, '1')
             local _, b = coroutine.resume(co, '2')
             return a, b, coroutine.status(co)",
            Ok("1x 2 dead"),
        );
        check("coroutine.yield(1) return 'again'", Ok("again"));
    }

    #[test]
    fn errors_are_strings_with_their_place() {
        check("return pcall(test.sleep, 'bad')", Ok("false it went bad"));
        check("return type(select(2, pcall(test.raise)))", Ok("string"));
        check("return select(2, pcall(function() test.raise() end))", Ok("test:1: wrong"));
        check("\n\ntest.raise()", Err("test:3: wrong"));
        check("local function f() error('oops') end f()", Err("in local 'f'"));
        check("error({})", Err("table: 0x"));
        check("test.sleep()", Err("test:1: a text is missing"));
        check("test.sleep('bad')", Err("test:1: it went bad"));
    }

    #[test]
    fn a_run_ends_where_a_function_says_so() {
        check("pcall(test.exit) return 'never'", Ok("Fail(\"ended\")"));
        check("coroutine.wrap(test.exit)() return 'never'", Ok("Fail(\"ended\")"));
    }

    #[test]
    fn threads_run_while_others_wait() {
        let state = with_waits();
        let ends = Rc::new(RefCell::new(Vec::new()));
        let (seen, weak) = (ends.clone(), Rc::downgrade(&state));
        let start = bind::cold(&state, move |_, args| {
            let state = weak.upgrade().ok_or("no state")?;
            let function = args.front().and_then(Value::as_function).ok_or("no function")?;
            let seen = seen.clone();
            let on_end: OnEnd = Box::new(move |_, results| {
                seen.borrow_mut().push(results.map(|r| texts(Ending::Done(r))));
            });
            let id = spawn(&state, function.clone(), Vec::new(), on_end);
            id.map(|_| ()).map_err(|error| error.to_string())
        });
        let test = state.global_table("test").expect("a table");
        test.set("spawn", start.expect("a function")).expect("set");
        let source = "
            local order = {}
            local function note(name) return function()
              order[#order + 1] = name
              local text = test.sleep(name)
              order[#order + 1] = text
              return name
            end end
            test.spawn(note 'a') test.spawn(note 'b')
            test.spawn(function() error('c failed', 0) end)
            note 'main' ()
            return table.concat(order, ' ')";
        let ending = texts(run(&state, &mut exchange(), source));
        assert_eq!(ending.as_deref(), Ok("main a b main"));
        let ends = ends.borrow();
        assert_eq!(ends.iter().filter(|end| end.is_ok()).count(), 2);
        assert!(ends.iter().any(|end| matches!(end, Err(text) if text.starts_with("c failed"))));
    }
}
