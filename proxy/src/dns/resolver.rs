//! What all workers know of names, on one thread: a name is asked for once, however many wait for
//! it, and what was known serves on while it is asked for again.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use tokio::{
    sync::{Semaphore, watch},
    task::spawn_local,
};

use super::{
    Scope,
    answer::{Answer, Failure, FailureKind, Records},
    facts::Facts,
    files::Files,
    settings::{DnsClient, DnsSettings, DnsType},
    wire,
};

/// How many names are asked for at one time.
const QUERIES_MAX: usize = 256;
/// How long what the hosts file says is good: then it is looked whether the file has changed.
const HOSTS_TTL: Duration = Duration::from_secs(2);
/// How long to wait at least before a name is asked for again that could not be resolved, while
/// what was known serves on.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What all workers know of names.
pub(crate) struct Resolver {
    settings: DnsSettings,
    files: RefCell<Files>,
    known: RefCell<HashMap<Question, Known>>,
    bytes: Cell<u64>,
    /// Which server is asked first, where they take turns.
    turn: Cell<usize>,
    gate: Semaphore,
    facts: Arc<Facts>,
}

/// A name, and what of it is wanted.
type Question = (Box<str>, Scope);

#[derive(Default)]
struct Known {
    answer: Option<Arc<Answer>>,
    /// Who asks for it just now tells those who wait.
    asking: Option<watch::Receiver<Option<Arc<Answer>>>>,
    /// The type that was found the last time.
    last: Option<DnsType>,
}

impl Resolver {
    pub(crate) fn new(settings: DnsSettings, facts: Arc<Facts>) -> Resolver {
        Resolver {
            files: RefCell::new(Files::read(&settings)),
            known: RefCell::default(),
            bytes: Cell::new(0),
            turn: Cell::new(0),
            gate: Semaphore::new(QUERIES_MAX),
            facts,
            settings,
        }
    }

    /// What is known of a name, fresh as far as that can be had.
    pub(crate) async fn get(self: &Rc<Resolver>, name: &str, scope: Scope) -> Arc<Answer> {
        let question: Question = (name.into(), scope);
        let waiting = {
            let mut known = self.known.borrow_mut();
            let known = known.entry(question.clone()).or_default();
            let now = Instant::now();
            if let Some(answer) = known.answer.as_ref().filter(|answer| answer.is_fresh(now)) {
                return answer.clone();
            }
            if self.settings.no_sync && known.answer.is_none() {
                None
            } else {
                Some(known.asking.clone().unwrap_or_else(|| {
                    let (told, asking) = watch::channel(None);
                    known.asking = Some(asking.clone());
                    let (resolver, question) = (self.clone(), question.clone());
                    spawn_local(async move {
                        let answer = resolver.ask(&question).await;
                        told.send_replace(Some(answer));
                    });
                    asking
                }))
            }
        };
        let Some(mut waiting) = waiting else { return self.ask(&question).await };
        let told = waiting.wait_for(Option::is_some).await;
        match told.ok().and_then(|told| told.clone()) {
            Some(answer) => answer,
            None => self.failure("the query was given up"),
        }
    }

    fn failure(&self, text: &str) -> Arc<Answer> {
        let failure = Failure::error(format!("dns client error: {text}"));
        Arc::new(Answer::new(Err(failure), self.settings.error_ttl, Duration::ZERO))
    }

    /// Asks, and remembers what comes of it.
    async fn ask(&self, question: &Question) -> Arc<Answer> {
        let _permit = self.gate.acquire().await;
        let last = self.known.borrow().get(question).and_then(|known| known.last);
        let (outcome, ttl) = match self.look_up(&question.0, question.1, last).await {
            Ok((records, ttl)) => (Ok(records), ttl),
            Err(failure) => {
                let ttl = match failure.is_of_name() {
                    true => self.settings.not_found_ttl,
                    false => self.settings.error_ttl,
                };
                (Err(failure), ttl)
            }
        };
        let answer = Answer::new(outcome, ttl, self.settings.stale_ttl);
        self.remember(question, answer)
    }

    fn remember(&self, question: &Question, mut answer: Answer) -> Arc<Answer> {
        let mut all = self.known.borrow_mut();
        let known = all.entry(question.clone()).or_default();
        known.asking = None;
        known.last = answer.kind();
        let before = known.answer.take();
        if let Some(before) = before.as_deref().filter(|before| self.outlasts(before, &answer)) {
            self.facts.stale.fetch_add(1, Relaxed);
            known.last = before.kind();
            let again = self.settings.error_ttl.max(AGAIN_AFTER);
            answer = Answer { until: answer.asked + again, never_fresh: false, ..before.clone() };
        }
        let answer = Arc::new(answer);
        known.answer = Some(answer.clone());
        let taken = before.map_or(0, |before| size(question, &before));
        self.bytes.set((self.bytes.get() + size(question, &answer)).saturating_sub(taken));
        self.make_room(&mut all);
        self.facts.cached.store(all.len() as u64, Relaxed);
        answer
    }

    /// Whether what was known serves on in the place of a failure. That there is no such name any
    /// more counts at once, except with Kong's new client.
    fn outlasts(&self, before: &Answer, answer: &Answer) -> bool {
        let gone = |failure: &Failure| {
            failure.kind == FailureKind::NoName && self.settings.client == DnsClient::Old
        };
        before.outcome.is_ok()
            && before.serves(answer.asked)
            && answer.outcome.as_ref().is_err_and(|failure| !gone(failure))
    }

    /// Forgets what serves no longer where there is too much, then whatever was asked for first.
    fn make_room(&self, all: &mut HashMap<Question, Known>) {
        let too_many = |all: &HashMap<Question, Known>, bytes: u64| {
            all.len() > self.settings.names_max.max(1)
                || self.settings.bytes_max.is_some_and(|max| bytes > max)
        };
        if !too_many(all, self.bytes.get()) {
            return;
        }
        let now = Instant::now();
        all.retain(|_, known| {
            known.asking.is_some() || known.answer.as_ref().is_some_and(|a| a.serves(now))
        });
        // A tenth at once, so that this is seldom.
        let spared = all.len() * 9 / 10;
        let mut ages: Vec<_> =
            all.values().filter_map(|known| Some(known.answer.as_ref()?.asked)).collect();
        ages.sort_unstable();
        let oldest = ages.get(ages.len().saturating_sub(spared)).copied();
        if too_many(all, self.bytes_of(all))
            && let Some(oldest) = oldest
        {
            all.retain(|_, known| {
                known.asking.is_some() || known.answer.as_ref().is_some_and(|a| a.asked >= oldest)
            });
        }
        self.bytes.set(self.bytes_of(all));
    }

    fn bytes_of(&self, all: &HashMap<Question, Known>) -> u64 {
        let size =
            |(question, known): (&Question, &Known)| Some(size(question, known.answer.as_ref()?));
        all.iter().filter_map(size).sum()
    }

    /// Goes through names and types until something is found, and gives it with how long it is
    /// good.
    async fn look_up(
        &self,
        name: &str,
        scope: Scope,
        last: Option<DnsType>,
    ) -> Result<(Records, Duration), Failure> {
        let kinds = self.kinds(name, scope, last);
        let (resolv, hosts) = {
            let mut files = self.files.borrow_mut();
            files.refresh(&self.settings);
            (files.resolv.clone(), files.hosts.clone())
        };
        let v6_first = kinds.iter().find(|kind| matches!(kind, DnsType::A | DnsType::Aaaa));
        if let Some(ip) = hosts.find(name, v6_first == Some(&DnsType::Aaaa)) {
            return Ok((Records::Addresses([ip].into()), HOSTS_TTL));
        }
        // RFC 6761, 6.4.
        if name.trim_end_matches('.').rsplit('.').next() == Some("invalid") {
            return Err(Failure::of_code(3));
        }
        let names = match (self.settings.client, resolv.is_dotted(name)) {
            (DnsClient::New, true) => vec![name.trim_end_matches('.').to_owned()],
            (_, dotted) => resolv.names(name, dotted),
        };
        let mut last = Failure::empty();
        for kind in kinds {
            for name in &names {
                match self.query(&resolv, name, kind).await {
                    // Kubernetes has services that point to themselves.
                    Ok((Records::Services(all), _)) if all.iter().all(|s| *s.host == **name) => {
                        last = Failure::error("recursion detected".to_owned());
                    }
                    Ok((records, seconds)) => {
                        let ttl = Duration::from_secs(seconds.into());
                        return Ok((records, self.settings.valid_ttl.unwrap_or(ttl)));
                    }
                    // The next type could be the wrong answer where this one is only unknown.
                    Err(failure) if failure.is_silence() => return Err(failure),
                    Err(failure) => last = failure,
                }
            }
        }
        Err(last)
    }

    /// The types to ask for, in order.
    fn kinds(&self, name: &str, scope: Scope, last: Option<DnsType>) -> Vec<DnsType> {
        let order = &self.settings.order;
        let has_srv = order.contains(&DnsType::Srv);
        if self.settings.client == DnsClient::New && scope == Scope::Any && has_srv && is_srv(name)
        {
            return vec![DnsType::Srv];
        }
        let mut kinds: Vec<DnsType> = Vec::new();
        for kind in order {
            let kind = match kind {
                DnsType::Last => last,
                // Aliases are followed wherever they turn up.
                DnsType::Cname => None,
                DnsType::Srv if scope == Scope::Addresses => None,
                kind => Some(*kind),
            };
            kinds.extend(kind.filter(|kind| !kinds.contains(kind)));
        }
        if self.settings.client == DnsClient::New {
            kinds.retain(|kind| *kind != DnsType::Srv);
            kinds.sort_by_key(|kind| *kind == DnsType::Aaaa);
        }
        if !kinds.iter().any(|kind| *kind != DnsType::Srv) && !has_srv {
            kinds.push(DnsType::A);
        }
        kinds
    }

    async fn query(
        &self,
        resolv: &super::files::ResolvConf,
        name: &str,
        kind: DnsType,
    ) -> wire::Reply {
        let first =
            if resolv.rotate { self.turn.replace(self.turn.get().wrapping_add(1)) } else { 0 };
        let key = format!("{name}|{}", kind.as_str());
        let began = Instant::now();
        let reply = wire::ask(resolv, first, name, kind).await;
        let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.facts.queries.fetch_add(1, Relaxed);
        self.facts.up(&key, "query");
        self.facts.set(&key, "query_last_time", took);
        match &reply {
            Ok(_) => self.facts.up(&key, "query_succ"),
            Err(failure) => {
                self.facts.failures.fetch_add(1, Relaxed);
                let what = failure.text.splitn(5, ' ').nth(4);
                match what.filter(|_| !failure.is_silence()) {
                    Some(what) => self.facts.up(&key, &format!("query_fail:{what}")),
                    None => self.facts.up(&key, "query_fail_nameserver"),
                }
            }
        }
        reply.map_err(|failure| match (self.settings.client, failure.is_silence()) {
            (DnsClient::New, true) => {
                let text = format!("DNS server error: {}, took {took} ms", failure.text);
                Failure { text, ..failure }
            }
            _ => failure,
        })
    }
}

fn size(question: &Question, answer: &Answer) -> u64 {
    (answer.size() + question.0.len() + size_of::<Known>()) as u64
}

/// Whether a name is that of a service: "_http._tcp.a.test" (kong/dns/utils.lua).
fn is_srv(name: &str) -> bool {
    let mut labels = name.splitn(3, '.');
    let mut marked = || {
        let label = labels.next().and_then(|label| label.strip_prefix('_'));
        label.is_some_and(|label| !label.is_empty() && !label.contains('_'))
    };
    marked() && marked() && labels.next().is_some_and(|rest| !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_have_two_marked_labels() {
        let check = |name, expect| assert_eq!(is_srv(name), expect, "{name}");
        check("_http._tcp.a.test", true);
        check("_http._tcp.", false);
        check("_http.tcp.a.test", false);
        check("a.test", false);
    }

    fn check(client: DnsClient, order: &[DnsType], name: &str, scope: Scope, expect: &[DnsType]) {
        let settings = DnsSettings { client, order: order.to_vec(), ..DnsSettings::default() };
        let resolver = Resolver::new(settings, Arc::default());
        assert_eq!(resolver.kinds(name, scope, Some(DnsType::A)), expect, "{order:?} {name}");
    }

    #[test]
    fn types_are_asked_for_in_order() {
        use DnsType::{A, Aaaa, Cname, Last, Srv};
        let old = DnsClient::Old;
        check(old, &[Last, Srv, A, Cname], "a.test", Scope::Any, &[A, Srv]);
        check(old, &[Srv, Aaaa, Last, A], "a.test", Scope::Any, &[Srv, Aaaa, A]);
        check(old, &[Srv, A], "a.test", Scope::Addresses, &[A]);
        check(old, &[Cname], "a.test", Scope::Any, &[A]);
        let new = DnsClient::New;
        check(new, &[Srv, Aaaa, A], "a.test", Scope::Any, &[A, Aaaa]);
        check(new, &[A, Srv], "_h._tcp.a.test", Scope::Any, &[Srv]);
        check(new, &[A, Srv], "_h._tcp.a.test", Scope::Addresses, &[A]);
        check(new, &[A], "_h._tcp.a.test", Scope::Any, &[A]);
    }
}
