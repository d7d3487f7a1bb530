//! Arguments of a query or fields of a form, by name.

use silverback_pdk::Value;

use super::Values;

/// Names and values in order: text, true where there is no `=`, or a list.
pub(super) struct Table(Vec<(Value, Value)>);

impl Table {
    pub(super) fn of(map: &Value) -> Table {
        match map {
            Value::Map(pairs) => Table(pairs.clone()),
            _ => Table(Vec::new()),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn into_value(self) -> Value {
        Value::Map(self.0)
    }

    pub(super) fn into_pairs(self) -> impl Iterator<Item = (Value, Value)> {
        self.0.into_iter()
    }

    fn find(&mut self, name: &str) -> Option<&mut Value> {
        let found = self.0.iter_mut().find(|(known, _)| is(known, name));
        found.map(|(_, value)| value)
    }

    fn remove(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().position(|(known, _)| is(known, name))?;
        Some(self.0.remove(at).1)
    }

    fn set(&mut self, name: &str, value: Value) {
        match self.find(name) {
            Some(there) => *there = value,
            None => self.0.push((Value::text(name), value)),
        }
    }

    /// Adds values to those of a name.
    pub(super) fn join(&mut self, name: Value, value: Value) {
        let Some((_, there)) = self.0.iter_mut().find(|(known, _)| *known == name) else {
            self.0.push((name, value));
            return;
        };
        let list = |value: Value| match value {
            Value::Array(items) => items,
            single => vec![single],
        };
        let mut items = list(std::mem::take(there));
        items.extend(list(value));
        *there = Value::Array(items);
    }

    /// Does what is configured; whether anything has changed.
    pub(super) fn change(&mut self, values: Values) -> bool {
        let mut changed = !values.remove.is_empty();
        for name in values.remove {
            self.remove(&name);
        }
        for (old, new) in values.rename {
            if let Some(new) = new.filter(|new| *new != old)
                && let Some(value) = self.remove(&old)
            {
                self.set(&new, value);
                changed = true;
            }
        }
        for (name, value) in values.replace {
            if let (Some(there), Some(value)) = (self.find(&name), value) {
                *there = value.into();
                changed = true;
            }
        }
        for (name, value) in values.add {
            if let (None, Some(value)) = (self.find(&name), value) {
                self.set(&name, value.into());
                changed = true;
            }
        }
        for (name, value) in values.append {
            let Some(value) = value.map(Value::from) else { continue };
            changed = true;
            let appended = match self.find(&name).map(std::mem::take) {
                Some(Value::Array(mut items)) => {
                    items.push(value);
                    items
                }
                Some(text @ Value::Text(_)) => vec![text, value],
                _ => vec![value],
            };
            self.set(&name, Value::Array(appended));
        }
        changed
    }
}

fn is(known: &Value, name: &str) -> bool {
    known.as_bytes().is_some_and(|known| known == name.as_bytes())
}
