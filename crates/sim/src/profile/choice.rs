//! What it takes to choose tokens otherwise than the most probable one of all: as a schema allows, with penalties, by lot.

use lumos_core::spec::{AgentSpec, DecodingSpec, GeneratorFormat};
use serde::{Deserialize, Serialize};

use crate::iteration::PS_PER_US;
use crate::replica::Extra;

/// How the tokens of an answer are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Choice {
    /// Among those that a JSON Schema, a regular expression or a list of answers allows.
    pub is_constrained: bool,
    /// With a repetition penalty.
    pub is_penalised: bool,
    /// By lot: at a temperature above 0.
    pub is_drawn: bool,
}

/// One way of choosing tokens otherwise than the most probable one of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// [`Choice::is_constrained`].
    Constrained,
    /// [`Choice::is_penalised`].
    Penalised,
    /// [`Choice::is_drawn`].
    Drawn,
}

/// Formats that a backend holds answers to; of others it is told in the prompt, and chooses as of any text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// All: models in this process.
    All,
    /// JSON Schemas and lists of answers: servers.
    Schemas,
    /// None: servers that have no such means.
    None,
}

/// What a way of choosing adds. It is the server's own time: all that it serves meanwhile wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChoiceTime {
    /// Microseconds of the first token of an answer, beside `token_us`.
    pub first_us: f64,
    /// Microseconds of each token of its answer.
    pub token_us: f64,
}

/// What each way of choosing adds to the most probable token of all; `None` where nobody has measured it. Ways that are combined
/// add up, and so do sequences: measured is one request at a time, in one way.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChoiceTimes {
    /// [`Choice::is_constrained`].
    pub constrained: Option<ChoiceTime>,
    /// [`Choice::is_penalised`].
    pub penalised: Option<ChoiceTime>,
    /// [`Choice::is_drawn`].
    pub drawn: Option<ChoiceTime>,
}

impl Way {
    /// All ways.
    pub const ALL: [Self; 3] = [Self::Constrained, Self::Penalised, Self::Drawn];

    /// The name of its field in [`ChoiceTimes`].
    pub const fn name(self) -> &'static str {
        match self {
            Self::Constrained => "constrained",
            Self::Penalised => "penalised",
            Self::Drawn => "drawn",
        }
    }

    /// In words, after "tokens chosen".
    pub const fn words(self) -> &'static str {
        match self {
            Self::Constrained => "as a schema allows",
            Self::Penalised => "with a repetition penalty",
            Self::Drawn => "at a temperature",
        }
    }
}

impl From<Way> for Choice {
    /// This way alone.
    fn from(way: Way) -> Self {
        Self {
            is_constrained: way == Way::Constrained,
            is_penalised: way == Way::Penalised,
            is_drawn: way == Way::Drawn,
        }
    }
}

impl Choice {
    /// The ways that are part of it.
    pub fn ways(self) -> impl Iterator<Item = Way> {
        Way::ALL.into_iter().filter(move |way| match way {
            Way::Constrained => self.is_constrained,
            Way::Penalised => self.is_penalised,
            Way::Drawn => self.is_drawn,
        })
    }

    /// How an agent has its tokens chosen by a backend; the default for roles that ask no model for a text.
    pub fn of(agent: &AgentSpec, held: Held) -> Self {
        let with = |is_constrained: bool, decoding: &DecodingSpec| Self {
            is_constrained,
            is_penalised: decoding.repetition_penalty.is_some_and(|penalty| penalty > 1.0),
            is_drawn: decoding.temperature.is_some_and(|temperature| temperature > 0.0),
        };
        let schemas = held != Held::None;
        match agent {
            AgentSpec::Planner(spec) => with(schemas, &spec.decoding),
            AgentSpec::Router(spec) => with(schemas, &spec.decoding),
            AgentSpec::Judge(spec) => with(schemas, &spec.decoding),
            AgentSpec::Generator(spec) => {
                let is_constrained = match spec.format {
                    GeneratorFormat::Text => false,
                    GeneratorFormat::Json(_) => schemas,
                    GeneratorFormat::Regex(_) => held == Held::All,
                };
                with(is_constrained, &spec.decoding)
            }
            AgentSpec::Retriever(_) | AgentSpec::Forecaster(_) | AgentSpec::Guard(_) | AgentSpec::Tool(_) => {
                Self::default()
            }
        }
    }
}

impl ChoiceTimes {
    /// Times by way of choosing, as `time` says of each of [`Way::ALL`].
    pub fn by_way(mut time: impl FnMut(Way) -> Option<ChoiceTime>) -> Self {
        Self { constrained: time(Way::Constrained), penalised: time(Way::Penalised), drawn: time(Way::Drawn) }
    }

    /// What one way adds.
    pub const fn way(&self, way: Way) -> Option<ChoiceTime> {
        match way {
            Way::Constrained => self.constrained,
            Way::Penalised => self.penalised,
            Way::Drawn => self.drawn,
        }
    }

    /// What these ways of choosing add, those of them that are known, together.
    pub fn extra(&self, choice: Choice) -> Extra {
        let mut extra = Extra::default();
        for time in choice.ways().filter_map(|way| self.way(way)) {
            let ps = |us: f64| (us * PS_PER_US as f64).round() as u64;
            extra.first_ps = extra.first_ps.saturating_add(ps(time.first_us + time.token_us));
            extra.next_ps = extra.next_ps.saturating_add(ps(time.token_us));
        }
        extra
    }

    /// The ways of choosing, in words, of which nothing is known.
    pub(crate) fn unknown(&self, choice: Choice) -> Vec<&'static str> {
        choice.ways().filter(|way| self.way(*way).is_none()).map(Way::words).collect()
    }

    /// When everything takes `factor` times as long.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Self {
        let scaled =
            |time: ChoiceTime| ChoiceTime { first_us: time.first_us * factor, token_us: time.token_us * factor };
        Self::by_way(|way| self.way(way).map(scaled))
    }
}

#[cfg(test)]
mod tests {
    use lumos_core::spec::{GeneratorSpec, PromptSpec};

    use super::*;

    #[test]
    fn what_is_known_adds_up_and_what_is_not_is_named() {
        let times = ChoiceTimes {
            constrained: Some(ChoiceTime { first_us: 10.0, token_us: 2.0 }),
            penalised: Some(ChoiceTime { first_us: 0.0, token_us: 0.5 }),
            drawn: None,
        };
        let all = Choice { is_constrained: true, is_penalised: true, is_drawn: true };
        assert_eq!(times.extra(all), Extra { first_ps: 12_500_000, next_ps: 2_500_000 });
        assert_eq!(times.unknown(all), ["at a temperature"]);
        assert_eq!(times.extra(Choice::default()), Extra::default());
        assert_eq!(times.scaled(2.0).extra(all), Extra { first_ps: 25_000_000, next_ps: 5_000_000 });
        let endless = Some(ChoiceTime { first_us: 0.0, token_us: 1e300 });
        let endless = ChoiceTimes { constrained: endless, penalised: endless, drawn: None }.extra(all);
        assert_eq!(endless, Extra { first_ps: u64::MAX, next_ps: u64::MAX });
    }

    #[test]
    fn formats_that_a_server_is_only_told_of_take_no_choosing() {
        let agent = |format: GeneratorFormat| {
            let prompt = PromptSpec::default();
            let decoding =
                DecodingSpec { temperature: Some(0.7), repetition_penalty: Some(1.0), ..DecodingSpec::default() };
            AgentSpec::Generator(GeneratorSpec { model: "small".to_owned(), prompt, decoding, format })
        };
        let constrained = |format: &GeneratorFormat, held: Held| {
            let choice = Choice::of(&agent(format.clone()), held);
            assert!(choice.is_drawn && !choice.is_penalised, "{choice:?}");
            choice.is_constrained
        };
        let formats =
            [GeneratorFormat::Text, GeneratorFormat::Json(true.into()), GeneratorFormat::Regex("a+".to_owned())];
        let found = |held: Held| formats.each_ref().map(|format| constrained(format, held));
        assert_eq!(found(Held::All), [false, true, true]);
        assert_eq!(found(Held::Schemas), [false, true, false]);
        assert_eq!(found(Held::None), [false; 3]);
    }
}
