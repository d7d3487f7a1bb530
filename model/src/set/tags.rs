//! The filter `?tags=` of the Admin API (kong/api/endpoints.lua, kong/db/dao/init.lua).

use serde_json::Value;

use crate::Record;

/// How many tags a filter may name.
const TAGS_MAX: usize = 5;

/// Which tags an entity must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagFilter {
    /// All of these: `a,b`.
    All(Vec<String>),
    /// One of these at least: `a/b`.
    Any(Vec<String>),
}

/// Why a text is no filter; the Admin API says it of the option `tags`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TagFilterError {
    /// The text is empty.
    #[error("cannot be null")]
    Empty,
    /// The text has both `,` and `/`, or an empty tag.
    #[error("invalid filter syntax")]
    Syntax,
    /// More tags than five.
    #[error("cannot query more than 5 tags")]
    TooMany,
}

impl TagFilter {
    /// Reads `a`, `a,b` or `a/b`.
    ///
    /// # Errors
    /// If it is none of these.
    pub fn parse(text: &str) -> Result<TagFilter, TagFilterError> {
        if text.is_empty() {
            return Err(TagFilterError::Empty);
        }
        let (any, all) = (text.contains('/'), text.contains(','));
        let tags: Vec<String> =
            text.split(if any { '/' } else { ',' }).map(str::to_owned).collect();
        let printable = |tag: &String| !tag.is_empty() && !tag.contains(char::is_control);
        if (any && all) || !tags.iter().all(printable) {
            return Err(TagFilterError::Syntax);
        }
        if tags.len() > TAGS_MAX {
            return Err(TagFilterError::TooMany);
        }
        Ok(if any { TagFilter::Any(tags) } else { TagFilter::All(tags) })
    }

    /// Whether an entity has the tags.
    pub fn matches(&self, record: &Record) -> bool {
        let Some(Value::Array(own)) = record.get("tags") else { return false };
        let has = |tag: &String| own.iter().any(|own| own.as_str() == Some(tag));
        match self {
            TagFilter::All(tags) => tags.iter().all(has),
            TagFilter::Any(tags) => tags.iter().any(has),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Result<TagFilter, &str>) {
        let result = TagFilter::parse(text).map_err(|error| error.to_string());
        assert_eq!(result, expect.map_err(str::to_owned), "{text}");
    }

    #[test]
    fn reads_filters() {
        let tags = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        check("a", Ok(TagFilter::All(tags(&["a"]))));
        check("a,b", Ok(TagFilter::All(tags(&["a", "b"]))));
        check("a/b", Ok(TagFilter::Any(tags(&["a", "b"]))));
        check("", Err("cannot be null"));
        check("a,b/c", Err("invalid filter syntax"));
        check("a,", Err("invalid filter syntax"));
        check("a,b,c,d,e,f", Err("cannot query more than 5 tags"));
    }
}
