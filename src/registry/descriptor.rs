//! What a registry knows of a family.

use crate::model::name::NameRules;
use crate::model::{GaugeMode, MetricType, OwnedLabels, Unit, shared_name};

/// Name, help, type and labels of a family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor {
    /// Of a counter without `_total`.
    pub(crate) name: String,
    pub(crate) help: String,
    pub(crate) metric_type: MetricType,
    pub(crate) unit: Option<Unit>,
    pub(crate) mode: Option<GaugeMode>,
    pub(crate) label_names: Box<[Box<str>]>,
    /// Which names are valid.
    pub(crate) rules: NameRules,
    /// Whether each series has label names of its own, so that `label_names` is empty.
    pub(crate) has_open_labels: bool,
    /// Whether it is the `target_info` of the registry, and not a metric of the program.
    pub(crate) is_target: bool,
    pub(crate) const_labels: OwnedLabels,
}

impl Descriptor {
    /// The description of a family that no registry has.
    pub(crate) fn detached(name: &str, metric_type: MetricType) -> Descriptor {
        Descriptor {
            name: name.to_owned(),
            help: String::new(),
            metric_type,
            unit: None,
            mode: None,
            label_names: Box::default(),
            rules: NameRules::Classic,
            has_open_labels: false,
            is_target: false,
            const_labels: OwnedLabels::default(),
        }
    }

    /// Why a family cannot be registered beside another one; `None` if it can. Of a name that both reserve for
    /// themselves or for a sample, it says what differs.
    pub(crate) fn collision(&self, registered: &Descriptor) -> Option<String> {
        let name = shared_name(
            (&self.name, self.metric_type),
            (&registered.name, registered.metric_type),
        )?;
        let problem = match self.difference(registered) {
            Some(difference) => {
                format!("{difference}; use another name or the same description")
            }
            None => "with the same description; `get_or_register` returns it, and a static \
                     is declared once, as a `static` and not as a `const`"
                .to_owned(),
        };
        Some(format!("metric name `{name}` is registered already, {problem}"))
    }

    /// What distinguishes a registered family that has a name in common with this one.
    fn difference(&self, registered: &Descriptor) -> Option<String> {
        let labels = |descriptor: &Descriptor| {
            let own = descriptor.label_names.iter().map(|name| format!("`{name}`"));
            let constant = descriptor.const_labels.iter();
            let constant = constant.map(|(name, value)| format!("`{name}`=\"{value}\""));
            let open = descriptor.has_open_labels.then(|| "any others".to_owned());
            let all: Vec<String> = own.chain(constant).chain(open).collect();
            if all.is_empty() {
                "without labels".to_owned()
            } else {
                format!("with the labels {}", all.join(", "))
            }
        };
        let mode = |descriptor: &Descriptor| descriptor.mode.map_or("", GaugeMode::as_str);
        let differences = [
            (self.name != registered.name
                || self.metric_type != registered.metric_type
                || self.is_target != registered.is_target)
                .then(|| format!("by the {} `{}`", registered.metric_type, registered.name)),
            (self.help != registered.help)
                .then(|| format!("with the help text `{}`", registered.help)),
            (labels(self) != labels(registered)).then(|| labels(registered)),
            (mode(self) != mode(registered)).then(|| format!("in the mode `{}`", mode(registered))),
        ];
        differences.into_iter().flatten().next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_collide_with_the_samples_of_other_families_too() {
        let histogram = Descriptor::detached("a", MetricType::Histogram);
        let collides =
            |name, kind| histogram.collision(&Descriptor::detached(name, kind)).is_some();
        assert!(collides("a_count", MetricType::Gauge));
        assert!(collides("a", MetricType::Counter));
        assert!(!collides("a_total", MetricType::Gauge));
        assert!(!collides("b", MetricType::Histogram));
    }

    #[test]
    fn a_collision_says_what_differs() {
        let registered = Descriptor {
            help: "Text.".to_owned(),
            label_names: ["x".into()].into(),
            mode: Some(GaugeMode::Sum),
            ..Descriptor::detached("a", MetricType::Gauge)
        };
        let collision = |new: Descriptor| new.collision(&registered).unwrap();
        let same = registered.clone();
        assert_eq!(
            collision(same.clone()),
            "metric name `a` is registered already, with the same description; `get_or_register` returns it, \
             and a static is declared once, as a `static` and not as a `const`"
        );
        for (new, difference) in [
            (Descriptor::detached("a", MetricType::Unknown), "by the gauge `a`"),
            (Descriptor { help: String::new(), ..same.clone() }, "with the help text `Text.`"),
            (Descriptor { label_names: Box::default(), ..same.clone() }, "with the labels `x`"),
            (Descriptor { mode: Some(GaugeMode::Max), ..same.clone() }, "in the mode `sum`"),
        ] {
            let rest = "; use another name or the same description";
            assert_eq!(
                collision(new),
                format!("metric name `a` is registered already, {difference}{rest}")
            );
        }
    }
}
