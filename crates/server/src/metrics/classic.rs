//! The same figures in the older text format of Prometheus (0.0.4), which everything reads: for who does not ask for
//! OpenMetrics by name.

pub(super) const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

/// OpenMetrics' text in the older format: there a counter's family has the name of its samples, and there is no type of
/// information and no end.
pub(super) fn classic(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // What a family is comes behind its help, which is to bear the name of the samples, too.
    let mut help = None;
    for line in text.lines().filter(|line| *line != "# EOF" && !line.starts_with("# UNIT ")) {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').map(|(_, help)| help);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let (ending, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                kind => ("", kind),
            };
            if let Some(help) = help.take() {
                out += &format!("# HELP {name}{ending} {help}\n");
            }
            out += &format!("# TYPE {name}{ending} {kind}\n");
        } else {
            out += line;
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_have_the_names_of_their_samples() {
        let text = "# HELP a Things.\n# TYPE a counter\n# UNIT a seconds\na_total{b=\"# c\"} 1\n\
            # HELP i What runs.\n# TYPE i info\ni_info{v=\"1\"} 1\n# HELP g Now.\n# TYPE g gauge\ng 2\n# EOF\n";
        let expected = "# HELP a_total Things.\n# TYPE a_total counter\na_total{b=\"# c\"} 1\n\
            # HELP i_info What runs.\n# TYPE i_info gauge\ni_info{v=\"1\"} 1\n# HELP g Now.\n# TYPE g gauge\ng 2\n";
        assert_eq!(classic(text), expected);
    }
}
