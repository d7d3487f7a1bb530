//! The expressions that most templates hold, read once and run without Lua: members of `headers`,
//! `query_params`, `uri_captures` and `shared`, texts and numbers, `and`, `or`, `not`, `..`, `==`,
//! `~=`, parentheses, `:upper()`, `:lower()`, and `type(...)`.

use silverback_pdk::Value;

use super::template::{Environment, as_text};

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expression {
    Literal(Value),
    Variable(Variable),
    Member(Box<Expression>, Box<Expression>),
    Or(Box<Expression>, Box<Expression>),
    And(Box<Expression>, Box<Expression>),
    Equal(Box<Expression>, Box<Expression>, bool),
    Concat(Box<Expression>, Box<Expression>),
    Not(Box<Expression>),
    Case(Box<Expression>, bool),
    Type(Box<Expression>),
}

/// What expressions may look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variable {
    Headers,
    QueryParams,
    UriCaptures,
    Shared,
}

/// Why an expression is not one of these.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It is no Lua, as Lua says it.
    Wrong(String),
    /// It may be Lua, but more than is run here.
    Beyond,
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Name(String),
    Text(String),
    Number(f64),
    Symbol(&'static str),
}

const SYMBOLS: [&str; 10] = ["..", "==", "~=", "(", ")", "[", "]", ".", ":", ","];

fn tokens(code: &str) -> Result<Vec<Token>, Trouble> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let length;
        if first.is_ascii_alphabetic() || first == '_' {
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            length = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
            tokens.push(Token::Name(rest.get(..length).unwrap_or_default().to_owned()));
        } else if first.is_ascii_digit() {
            length = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let number = rest.get(..length).unwrap_or_default();
            if rest.get(length..).is_some_and(|r| r.starts_with(['.', 'x', 'e', 'X', 'E'])) {
                return Err(Trouble::Beyond);
            }
            tokens.push(Token::Number(number.parse().map_err(|_| Trouble::Beyond)?));
        } else if first == '"' || first == '\'' {
            let body = rest.get(1..).unwrap_or_default();
            let end = body.find(first).ok_or(Trouble::Beyond)?;
            let text = body.get(..end).unwrap_or_default();
            if text.contains('\\') {
                return Err(Trouble::Beyond);
            }
            tokens.push(Token::Text(text.to_owned()));
            length = end + 2;
        } else {
            let symbol = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol));
            let Some(symbol) = symbol else {
                // Lua has more, but none that ends with an operator.
                return Err(if rest.trim_end() == "+" { unexpected(")") } else { Trouble::Beyond });
            };
            tokens.push(Token::Symbol(symbol));
            length = symbol.len();
        }
        rest = rest.get(length..).unwrap_or_default().trim_start();
    }
    Ok(tokens)
}

fn unexpected(near: &str) -> Trouble {
    Trouble::Wrong(format!("[string \"TMP\"]:1: unexpected symbol near '{near}'"))
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn take_symbol(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Symbol(found)) if *found == symbol);
        self.at += usize::from(found);
        found
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Name(found)) if found == word);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, symbol: &str) -> Result<(), Trouble> {
        if self.take_symbol(symbol) { Ok(()) } else { Err(Trouble::Beyond) }
    }

    /// In the order of how loosely they bind: or, and, comparison, concatenation, not.
    fn or(&mut self) -> Result<Expression, Trouble> {
        let mut left = self.and()?;
        while self.take_word("or") {
            left = Expression::Or(Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Expression, Trouble> {
        let mut left = self.comparison()?;
        while self.take_word("and") {
            left = Expression::And(Box::new(left), Box::new(self.comparison()?));
        }
        Ok(left)
    }

    fn comparison(&mut self) -> Result<Expression, Trouble> {
        let mut left = self.concat()?;
        loop {
            let equal = self.take_symbol("==");
            if !equal && !self.take_symbol("~=") {
                return Ok(left);
            }
            left = Expression::Equal(Box::new(left), Box::new(self.concat()?), equal);
        }
    }

    fn concat(&mut self) -> Result<Expression, Trouble> {
        let left = self.unary()?;
        if self.take_symbol("..") {
            return Ok(Expression::Concat(Box::new(left), Box::new(self.concat()?)));
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Expression, Trouble> {
        if self.take_word("not") {
            return Ok(Expression::Not(Box::new(self.unary()?)));
        }
        let mut value = self.primary()?;
        loop {
            if self.take_symbol(".") {
                let Some(Token::Name(name)) = self.peek().cloned() else {
                    return Err(Trouble::Beyond);
                };
                self.at += 1;
                let name = Expression::Literal(Value::from(name));
                value = Expression::Member(Box::new(value), Box::new(name));
            } else if self.take_symbol("[") {
                let key = self.or()?;
                self.expect("]")?;
                value = Expression::Member(Box::new(value), Box::new(key));
            } else if self.take_symbol(":") {
                let upper = self.take_word("upper");
                if !upper && !self.take_word("lower") {
                    return Err(Trouble::Beyond);
                }
                self.expect("(")?;
                self.expect(")")?;
                value = Expression::Case(Box::new(value), upper);
            } else {
                return Ok(value);
            }
        }
    }

    fn primary(&mut self) -> Result<Expression, Trouble> {
        let Some(token) = self.peek().cloned() else { return Err(unexpected(")")) };
        self.at += 1;
        Ok(match token {
            Token::Text(text) => Expression::Literal(text.into()),
            Token::Number(number) => Expression::Literal(Value::Number(number)),
            Token::Symbol("(") => {
                let inner = self.or()?;
                self.expect(")")?;
                inner
            }
            Token::Symbol(symbol @ (")" | "]" | "," | "." | ".." | "==" | "~=" | ":")) => {
                return Err(unexpected(symbol));
            }
            Token::Symbol(_) => return Err(Trouble::Beyond),
            Token::Name(name) => match name.as_str() {
                "headers" => Expression::Variable(Variable::Headers),
                "query_params" => Expression::Variable(Variable::QueryParams),
                "uri_captures" => Expression::Variable(Variable::UriCaptures),
                "shared" => Expression::Variable(Variable::Shared),
                "nil" => Expression::Literal(Value::Nil),
                "true" => Expression::Literal(Value::Bool(true)),
                "false" => Expression::Literal(Value::Bool(false)),
                "type" => {
                    self.expect("(")?;
                    let inner = self.or()?;
                    self.expect(")")?;
                    Expression::Type(Box::new(inner))
                }
                _ => return Err(Trouble::Beyond),
            },
        })
    }
}

impl Expression {
    pub(super) fn read(code: &str) -> Result<Expression, Trouble> {
        let mut parser = Parser { tokens: tokens(code)?, at: 0 };
        let expression = parser.or()?;
        if parser.peek().is_some() { Err(Trouble::Beyond) } else { Ok(expression) }
    }

    pub(super) fn evaluate(&self, environment: &mut Environment<'_>) -> Result<Value, String> {
        Ok(match self {
            Expression::Literal(value) => value.clone(),
            Expression::Variable(variable) => variable.whole(environment),
            Expression::Member(of, key) => {
                let key = key.evaluate(environment)?;
                match &**of {
                    Expression::Variable(variable) => variable.member(environment, &key),
                    other => member(&other.evaluate(environment)?, &key)?,
                }
            }
            Expression::Or(left, right) => match left.evaluate(environment)? {
                Value::Nil | Value::Bool(false) => right.evaluate(environment)?,
                value => value,
            },
            Expression::And(left, right) => match left.evaluate(environment)? {
                value @ (Value::Nil | Value::Bool(false)) => value,
                _ => right.evaluate(environment)?,
            },
            Expression::Equal(left, right, equal) => {
                let (left, right) = (left.evaluate(environment)?, right.evaluate(environment)?);
                let same = left == right || numbers(&left, &right);
                Value::Bool(same == *equal)
            }
            Expression::Concat(left, right) => {
                let (left, right) = (left.evaluate(environment)?, right.evaluate(environment)?);
                Value::from(operand(&left)? + &operand(&right)?)
            }
            Expression::Not(value) => {
                let value = value.evaluate(environment)?;
                Value::Bool(matches!(value, Value::Nil | Value::Bool(false)))
            }
            Expression::Case(value, upper) => {
                let text = operand(&value.evaluate(environment)?)?;
                let changed =
                    if *upper { text.to_ascii_uppercase() } else { text.to_ascii_lowercase() };
                changed.into()
            }
            Expression::Type(value) => Value::constant(value.evaluate(environment)?.type_name()),
        })
    }
}

impl Variable {
    fn member(self, environment: &mut Environment<'_>, key: &Value) -> Value {
        let name = key.as_str().unwrap_or_default();
        match self {
            Variable::Headers => environment.header(name),
            Variable::QueryParams => environment.query().member(name),
            Variable::UriCaptures => environment.capture(key),
            Variable::Shared => environment.exchange.shared.get(name).unwrap_or_default(),
        }
    }

    /// All of it: only its type is of use.
    fn whole(self, _: &Environment<'_>) -> Value {
        Value::Map(Vec::new())
    }
}

fn member(of: &Value, key: &Value) -> Result<Value, String> {
    match (of, key.as_int()) {
        (Value::Array(items), Some(number)) => {
            let at = usize::try_from(number - 1).unwrap_or(usize::MAX);
            Ok(items.get(at).cloned().unwrap_or_default())
        }
        (Value::Map(_) | Value::Entity(_), _) => Ok(of.member(key.as_str().unwrap_or_default())),
        (Value::Array(_), None) => Ok(Value::Nil),
        (other, _) => Err(format!("attempt to index a {} value", other.type_name())),
    }
}

fn numbers(left: &Value, right: &Value) -> bool {
    left.as_number().is_some_and(|left| Some(left) == right.as_number())
}

/// What can be put beside other text.
fn operand(value: &Value) -> Result<String, String> {
    match value {
        Value::Text(_) | Value::Binary(_) | Value::Int(_) | Value::Number(_) => as_text(value),
        other => Err(format!("attempt to concatenate a {} value", other.type_name())),
    }
}
