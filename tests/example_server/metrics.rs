//! The Prometheus text format, read strictly.

/// Reads the text format strictly: each family declared once with HELP and TYPE before its samples, which follow together; names and
/// labels well formed; no sample twice; buckets growing up to their count.
pub(crate) fn parse(text: &str) -> Vec<(String, f64)> {
    assert!(text.ends_with('\n') && !text.contains('\r'));
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    let mut samples: Vec<(String, f64)> = Vec::new();
    let (mut families, mut family, mut kind, mut help) = (Vec::new(), "", "", "");
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, words) = rest.split_once(' ').expect("a text");
            assert!(is_name(name) && !words.is_empty() && !families.contains(&name), "{line}");
            families.push(name);
            help = name;
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            (family, kind) = rest.split_once(' ').expect("a type");
            assert_eq!(family, help);
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", family.ends_with("_total"), "{line}");
        } else {
            let (sample, value) = line.rsplit_once(' ').expect("a value");
            let (name, labels) = sample.split_once('{').map_or((sample, None), |(name, rest)| (name, Some(rest)));
            let base = match kind {
                "histogram" => ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).expect(line),
                _ => name,
            };
            assert!(is_name(name) && base == family, "{line}");
            if let Some(labels) = labels {
                for label in labels.strip_suffix('}').expect(line).split(',') {
                    let (name, value) = label.split_once('=').expect(line);
                    assert!(
                        is_name(name) && value.len() > 2 && value.starts_with('"') && value.ends_with('"'),
                        "{line}"
                    );
                }
            }
            let value: f64 = value.parse().expect(line);
            assert!(value >= 0.0 && !samples.iter().any(|(other, _)| other == sample), "{line}");
            if kind == "histogram" && !name.ends_with("_sum") {
                let last = samples.last().filter(|(last, _)| last.starts_with(&format!("{base}_bucket")));
                let first = name.ends_with("_bucket") && line.contains("le=\"0.1\"") || line.contains("le=\"0.00001\"");
                assert!(first || last.is_none_or(|(_, last)| *last <= value), "{line}");
                if name.ends_with("_count") {
                    let labels = sample.strip_prefix(name).expect(line).trim_matches(['{', '}']);
                    let infinite =
                        samples.iter().rfind(|(sample, _)| sample.contains("+Inf") && sample.contains(labels));
                    assert_eq!(infinite.map(|(_, count)| *count), Some(value), "{line}");
                }
            }
            samples.push((sample.to_owned(), value));
        }
    }
    assert!(families.len() > 15);
    samples
}
