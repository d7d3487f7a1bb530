//! `kong.ctx.shared`: values that plugins leave for one another.

use std::{cell::RefCell, collections::HashMap, ptr, rc::Rc};

use crate::Value;

/// The values. An interpreter holds them in a form of its own for as long as nobody else asks for
/// them, so that what only its plugins use is never translated.
#[derive(Default)]
pub struct Shared(RefCell<Values>);

#[derive(Default)]
struct Values {
    values: HashMap<String, Value>,
    holder: Option<Rc<dyn Holder>>,
}

/// Who holds values in a form of its own.
pub trait Holder {
    /// The values as they are now.
    fn values(&self) -> HashMap<String, Value>;
}

impl Shared {
    /// Works on the values, which nobody holds any more.
    fn with<R>(&self, work: impl FnOnce(&mut HashMap<String, Value>) -> R) -> R {
        let mut inner = self.0.borrow_mut();
        if let Some(holder) = inner.holder.take() {
            inner.values = holder.values();
        }
        work(&mut inner.values)
    }

    /// The value under a key.
    pub fn get(&self, key: &str) -> Option<Value> {
        self.with(|values| values.get(key).cloned())
    }

    /// Leaves a value under a key.
    pub fn insert(&self, key: String, value: Value) {
        self.with(|values| values.insert(key, value));
    }

    /// Removes what is under a key.
    pub fn remove(&self, key: &str) {
        self.with(|values| values.remove(key));
    }

    /// Whether this one holds the values: nobody else has asked for them since.
    pub fn is_held_by<H: Holder>(&self, holder: &Rc<H>) -> bool {
        let inner = self.0.borrow();
        inner.holder.as_ref().is_some_and(|now| ptr::addr_eq(Rc::as_ptr(now), Rc::as_ptr(holder)))
    }

    /// Leaves the values to one that holds them from now on: they are what it is given here, and
    /// what it will say they are.
    pub fn hold(&self, holder: Rc<dyn Holder>) -> HashMap<String, Value> {
        let values = self.with(std::mem::take);
        self.0.borrow_mut().holder = Some(holder);
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(i64);

    impl Holder for Fixed {
        fn values(&self) -> HashMap<String, Value> {
            HashMap::from([("held".to_owned(), Value::Int(self.0))])
        }
    }

    #[test]
    fn values_are_held_until_somebody_asks() {
        let shared = Shared::default();
        shared.insert("a".to_owned(), Value::Int(1));
        let (one, two) = (Rc::new(Fixed(5)), Rc::new(Fixed(6)));
        assert_eq!(shared.hold(one.clone()), HashMap::from([("a".to_owned(), Value::Int(1))]));
        assert!(shared.is_held_by(&one) && !shared.is_held_by(&two));
        assert_eq!(shared.get("held"), Some(Value::Int(5)));
        assert!(!shared.is_held_by(&one));
        shared.remove("held");
        assert_eq!(shared.get("held"), None);
        shared.hold(one);
        assert_eq!(shared.hold(two).get("held"), Some(&Value::Int(5)));
    }
}
