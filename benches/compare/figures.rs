//! Figures that stand alone, each with its target if it has one.

use serde::{Deserialize, Serialize};

/// Figures of a part.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) rows: Vec<Figure>,
}

/// A figure.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) unit: String,
    /// What it is to be at the most.
    pub(crate) target: Option<f64>,
}

impl Figure {
    /// What became of its target.
    pub(crate) fn verdict(&self) -> &'static str {
        match self.target {
            None => "",
            Some(target) if self.value <= target => "met",
            Some(_) => "**missed**",
        }
    }

    /// A number with as many digits as it takes.
    pub(crate) fn number(value: f64) -> String {
        let digits = match value.abs() {
            large if large >= 100.0 => 0,
            middle if middle >= 10.0 => 1,
            _ => 2,
        };
        format!("{value:.digits$}")
    }
}

impl Figures {
    /// Notes a figure, and prints it.
    pub(crate) fn note(&mut self, what: impl Into<String>, value: f64, unit: &str) {
        self.add(Figure { what: what.into(), value, unit: unit.into(), target: None });
    }

    /// Notes a figure that is to be something at the most, and prints it.
    pub(crate) fn judge(&mut self, what: impl Into<String>, value: f64, unit: &str, target: f64) {
        self.add(Figure { what: what.into(), value, unit: unit.into(), target: Some(target) });
    }

    fn add(&mut self, figure: Figure) {
        let Figure { what, value, unit, target } = &figure;
        let target = target.map_or(String::new(), |target| {
            format!("  (target {}: {})", Figure::number(target), figure.verdict())
        });
        println!("  {what}: {} {unit}{target}", Figure::number(*value));
        self.rows.push(figure);
    }
}
