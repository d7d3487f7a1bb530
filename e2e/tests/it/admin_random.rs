//! Calls of the Admin API made at random from its OpenAPI document: some right, most wrong.

use serde_json::{Map, Value, json};
use silverback_e2e::http::Request;

/// Texts that are odd somewhere.
const TEXTS: [&str; 22] = [
    "",
    "a",
    "name-1",
    "name-2",
    "host.test",
    "127.0.0.1",
    "::1",
    "/path",
    "~/re(",
    "~/a+$",
    "*.a.b",
    "http",
    "GET",
    "80",
    "true",
    "null",
    "a b",
    "\u{e9}\u{4e2d}\u{1f600}",
    "\u{0}",
    "{vault://env/x}",
    "../..",
    "a:b:c",
];

/// Segments of paths, as they stand in a request.
const SEGMENTS: [&str; 12] = [
    "name-1",
    "name-2",
    "a",
    "%20",
    "%00",
    "%ff",
    "..%2f..",
    "%7B%7D",
    "host.test",
    "127.0.0.1:80",
    "validate",
    "00000000-0000-0000-0000-00000000000",
];

const NUMBERS: [&str; 10] =
    ["0", "1", "-1", "80", "443", "65536", "1.5", "1e3", "9223372036854775807", "1e300"];

const QUERIES: [&str; 12] = [
    "size=0",
    "size=2",
    "size=x",
    "size=1e400",
    "offset=x",
    "offset=",
    "tags=a,b",
    "tags=a/b",
    "tags=a,b/c",
    "tags=",
    "balancer_health=1",
    "custom_id=a",
];

/// Numbers by SplitMix64: the same for a seed, everywhere.
pub(crate) struct Random {
    state: u64,
    document: Value,
    /// Ids that there were.
    ids: Vec<String>,
}

/// A call to make.
#[derive(Debug)]
pub(crate) struct Call {
    method: String,
    target: String,
    media_type: &'static str,
    body: String,
}

impl Call {
    pub(crate) fn request(&self) -> Request {
        let request = Request::new(&self.method, &self.target);
        match self.media_type {
            "" => request.body(self.body.clone()),
            media_type => request.header("Content-Type", media_type).body(self.body.clone()),
        }
    }

    pub(crate) fn writes(&self) -> bool {
        self.method != "GET"
    }
}

impl Random {
    pub(crate) fn new(seed: u64, document: &Value) -> Random {
        Random { state: seed, document: document.clone(), ids: Vec::new() }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// Yes in so many of a hundred times.
    fn chance(&mut self, of_hundred: usize) -> bool {
        self.below(100) < of_hundred
    }

    fn pick<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }

    /// The paths of lists of entities, at the top.
    pub(crate) fn lists(&self) -> Vec<String> {
        let paths = self.document["paths"].as_object().unwrap();
        let is_list = |item: &Value| {
            let page = &item["get"]["responses"]["200"]["content"]["application/json"]["schema"];
            page["properties"].get("data").is_some() && item.get("parameters").is_none()
        };
        paths.iter().filter(|(_, item)| is_list(item)).map(|(path, _)| path.clone()).collect()
    }

    /// Takes the id of an answer for later calls.
    pub(crate) fn learn(&mut self, answer: &Value) {
        if let Some(id) = answer["id"].as_str().filter(|id| self.ids.iter().all(|own| own != id)) {
            self.ids.push(id.to_owned());
        }
    }

    fn id(&mut self) -> String {
        if self.ids.is_empty() || self.chance(10) {
            let (a, b) = (self.next(), self.next());
            return format!("{:08x}-1111-4111-8111-{:012x}", a as u32, b & 0xffff_ffff_ffff);
        }
        let at = self.below(self.ids.len());
        self.ids[at].clone()
    }

    /// A call of one of the document's operations, but for paths with such parts.
    pub(crate) fn call(&mut self, left_out: &[&str]) -> Call {
        let paths = self.document["paths"].as_object().unwrap().clone();
        let paths: Vec<_> =
            paths.iter().filter(|(p, _)| !left_out.iter().any(|part| p.contains(part))).collect();
        // Lists at the top are where entities are made.
        let (path, item) = loop {
            let (path, item) = paths[self.below(paths.len())];
            if !path.contains('{') || self.chance(60) {
                break (path, item);
            }
        };
        let methods: Vec<&str> = ["get", "post", "put", "patch", "delete"]
            .into_iter()
            .filter(|method| item.get(method).is_some())
            .collect();
        let documented = self.pick(&methods);
        let method = if self.chance(3) { self.pick(&["patch", "put", "brew"]) } else { documented };
        let schema = &item[documented]["requestBody"]["content"]["application/json"]["schema"];
        let mut target = self.filled(path);
        if self.chance(15) {
            target = format!("{target}?{}", self.pick(&QUERIES));
        }
        let (media_type, body) = self.body(method, schema);
        Call { method: method.to_uppercase(), target, media_type, body }
    }

    /// A path with its parameters.
    fn filled(&mut self, path: &str) -> String {
        let fill = |segment: &str| {
            if !segment.starts_with('{') {
                return segment.to_owned();
            }
            if self.chance(50) { self.id() } else { self.pick(&SEGMENTS).to_owned() }
        };
        path.split('/').map(fill).collect::<Vec<_>>().join("/")
    }

    fn body(&mut self, method: &str, schema: &Value) -> (&'static str, String) {
        if ["get", "delete"].contains(&method) {
            return ("", String::new());
        }
        let value = self.value(schema, 0);
        match self.below(20) {
            0 => ("application/json", self.pick(&["", "{", "[]", "null", "5", "[{}]"]).to_owned()),
            1 => ("text/plain", value.to_string()),
            2..4 => ("application/x-www-form-urlencoded", form(&value)),
            4 => {
                let part = "Content-Disposition: form-data; name=";
                let body = format!("--X\r\n{part}\"name\"\r\n\r\nname-1\r\n--X--\r\n");
                ("multipart/form-data; boundary=X", body)
            }
            5 => ("application/json", "[".repeat(self.below(100_000))),
            _ => ("application/json", value.to_string()),
        }
    }

    /// A value that mostly fits its schema.
    fn value(&mut self, schema: &Value, depth: usize) -> Value {
        if let Some(reference) = schema["$ref"].as_str() {
            let name = reference.rsplit('/').next().unwrap_or_default();
            let schema = self.document["components"]["schemas"][name].clone();
            return self.value(&schema, depth);
        }
        if let Some(any) = schema["anyOf"].as_array() {
            let at = self.below(any.len());
            return self.value(&any[at].clone(), depth);
        }
        if self.chance(4) {
            return self.odd();
        }
        if let Some(constant) = schema.get("const") {
            return constant.clone();
        }
        if let Some(values) = schema["enum"].as_array() {
            return values[self.below(values.len())].clone();
        }
        let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str());
        match kind.unwrap_or_default() {
            "object" => self.object(schema, depth),
            "array" => {
                let length = self.below(3);
                (0..length).map(|_| self.value(&schema["items"], depth + 1)).collect()
            }
            "integer" | "number" => self.number(schema),
            "boolean" => json!(self.chance(50)),
            "string" if schema["format"] == "uuid" => json!(self.id()),
            _ => json!(self.pick(&TEXTS)),
        }
    }

    fn number(&mut self, schema: &Value) -> Value {
        match schema["minimum"].as_i64() {
            Some(least) if self.chance(70) => json!(least + self.below(100) as i64),
            _ => serde_json::from_str(self.pick(&NUMBERS)).unwrap(),
        }
    }

    fn object(&mut self, schema: &Value, depth: usize) -> Value {
        let mut fields = Map::new();
        let none = Map::new();
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        for (name, field) in schema["properties"].as_object().unwrap_or(&none) {
            let is_required = required.iter().any(|other| other == name);
            if self.chance(if is_required || name == "host" { 95 } else { 15 }) && depth < 5 {
                fields.insert(name.clone(), self.value(field, depth + 1));
            }
        }
        if schema["additionalProperties"].is_object() {
            let name = self.pick(&TEXTS).to_owned();
            fields.insert(name, self.value(&schema["additionalProperties"], depth + 1));
        }
        if self.chance(3) {
            fields.insert(self.pick(&TEXTS).to_owned(), self.odd());
        }
        Value::Object(fields)
    }

    /// A value that fits nowhere.
    fn odd(&mut self) -> Value {
        match self.below(8) {
            0 => Value::Null,
            1 => json!([]),
            2 => json!({}),
            3 => json!([null, {"a": [1]}]),
            4 => json!({"id": self.id()}),
            5 => json!("x".repeat(self.below(70_000))),
            6 => serde_json::from_str(self.pick(&NUMBERS)).unwrap(),
            _ => json!(self.pick(&TEXTS)),
        }
    }
}

/// The fields of a value as a form; what is no text is written as JSON.
fn form(value: &Value) -> String {
    let mut pairs = Vec::new();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    for (name, field) in value.as_object().into_iter().flatten() {
        match field {
            Value::Array(items) => {
                pairs.extend(items.iter().map(|item| format!("{name}[]={}", text(item))));
            }
            Value::Object(fields) => {
                let pair =
                    |(inner, value): (&String, &Value)| format!("{name}.{inner}={}", text(value));
                pairs.extend(fields.iter().map(pair));
            }
            plain => pairs.push(format!("{name}={}", text(plain))),
        }
    }
    pairs.join("&")
}
