//! How the values of a chart, of the charts that contain it, and of the user become one (Helm 4.2, pkg/chart/common/util/coalesce.go).
//!
//! What is given on the command line wins over the values of a chart, and those win over the values of its subcharts. Maps are
//! merged, everything else is replaced. `null` takes a default away, and a `null` among the defaults is as if it were not there
//! (since 4.2; Helm 3 hands it on). `global` goes down to every subchart.

use super::node::ChartNode;
use super::values::deep_copy;
use crate::error::{Error, Result};
use larder_gotemplate::{Map, Text, Value};
use std::collections::HashSet;

/// Lays `values` over those of the chart and of everything below it. Neither is changed.
pub(crate) fn coalesce_values(chart: &ChartNode<'_>, values: &Map) -> Result<Map> {
    Coalescing { merge: false }.chart(chart, deep_copy(values))
}

/// The same, but `null`s stay where they are, to take effect later (`MergeValues`).
pub(crate) fn merge_values(chart: &ChartNode<'_>, values: &Map) -> Result<Map> {
    Coalescing { merge: true }.chart(chart, deep_copy(values))
}

/// Lays `over` over `under` and returns it; `null`s are kept (`MergeTables`).
pub(crate) fn merge_tables(over: &Map, under: &Map) -> Map {
    Coalescing { merge: true }.tables(over, under);
    over.clone()
}

#[derive(Clone, Copy)]
struct Coalescing {
    /// Keep `null`s instead of letting them delete.
    merge: bool,
}

impl Coalescing {
    fn chart(self, chart: &ChartNode<'_>, values: Map) -> Result<Map> {
        self.defaults(chart, &values);
        for subchart in &chart.dependencies {
            let name = subchart.name();
            let below = match values.get(name) {
                None => Map::new(),
                Some(Value::Map(below)) => below,
                Some(other) => {
                    let found = other.type_name().into_owned();
                    return Err(Error::SubchartValues {
                        chart: chart.name().into(),
                        subchart: name.into(),
                        found,
                    });
                }
            };
            globals(&below, &values);
            let below = self.chart(subchart, below)?;
            values.set(name, Value::from(below));
        }
        Ok(values)
    }

    /// The chart's own values, under those that are there.
    fn defaults(self, chart: &ChartNode<'_>, values: &Map) {
        for (key, default) in deep_copy(&chart.values).entries() {
            match values.get(&key) {
                Some(Value::Nil) if !self.merge => {
                    values.remove(&key);
                }
                Some(Value::Map(over)) => {
                    let Value::Map(under) = default else { continue };
                    // What belongs to a subchart is coalesced when its turn comes.
                    let is_subchart =
                        chart.dependencies.iter().any(|sub| sub.name().as_bytes() == key.as_bytes());
                    let merge = self.merge || is_subchart;
                    if !merge {
                        clean(&under);
                    }
                    Self { merge }.tables(&over, &under);
                }
                Some(_) => {}
                None => {
                    if !self.merge {
                        match &default {
                            Value::Nil => continue,
                            Value::Map(map) => clean(map),
                            _ => {}
                        }
                    }
                    values.set(key, default);
                }
            }
        }
    }

    /// Puts into `over` what only `under` has. Changes both.
    fn tables(self, over: &Map, under: &Map) {
        let has_value = |(key, value): (Text, Value)| (!value.is_nil()).then_some(key);
        let defaults: HashSet<Text> = under.entries().into_iter().filter_map(has_value).collect();
        for (key, value) in over.entries() {
            if value.is_nil() {
                under.set(key, Value::Nil);
            }
        }
        for (key, value) in under.entries() {
            match (over.get(&key), value) {
                (Some(Value::Nil), _) if !self.merge && defaults.contains(&key) => {
                    over.remove(&key);
                }
                (None, value) => over.set(key, value),
                (Some(Value::Map(over)), Value::Map(under)) => self.tables(&over, &under),
                _ => {}
            }
        }
    }
}

/// Hands `global` of `above` down to `below`, where what is above wins.
fn globals(below: &Map, above: &Map) {
    let section = |values: &Map| match values.get(GLOBAL) {
        None => Some(Map::new()),
        Some(Value::Map(map)) => Some(map),
        Some(_) => None,
    };
    let (Some(lower), Some(upper)) = (section(below), section(above)) else { return };
    for (key, value) in upper.entries() {
        match (value, lower.get(&key)) {
            (Value::Map(value), None) => lower.set(key, Value::from(value.copy())),
            (Value::Map(value), Some(Value::Map(existing))) => {
                let value = value.copy();
                Coalescing { merge: true }.tables(&value, &existing);
                lower.set(key, Value::from(value));
            }
            (Value::Map(_), Some(_)) | (_, Some(Value::Map(_))) => {}
            (value, _) => lower.set(key, value),
        }
    }
    below.set(GLOBAL, Value::from(lower));
}

/// Takes `null`s out of a map and the maps in it.
fn clean(map: &Map) {
    for (key, value) in map.entries() {
        match value {
            Value::Nil => drop(map.remove(&key)),
            Value::Map(inner) => clean(&inner),
            _ => {}
        }
    }
}

const GLOBAL: &str = "global";
