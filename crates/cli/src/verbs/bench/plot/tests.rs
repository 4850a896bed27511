//! Charts are well-formed, show every point, and survive every number.

use super::{Axis, BOTTOM, Chart, LEFT, RIGHT, Ruler, Scale, Series, TOP, svg};
use crate::verbs::bench::statistics::Point;

fn chart(names: &[&str], points: &[(f64, f64)], scale: Scale) -> Chart {
    let axis = |label: &str| Axis { label: label.to_owned(), scale };
    let points: Vec<Point> = points.iter().map(|&(x, y)| Point { x, y }).collect();
    let series =
        |(idx, name): (usize, &&str)| Series { name: (*name).to_owned(), points: points.clone(), is_law: idx == 1 };
    Chart {
        title: "decode & <batch>".to_owned(),
        x: axis("sequences"),
        y: axis("tokens/s"),
        series: names.iter().enumerate().map(series).collect(),
    }
}

/// Checks that elements are closed in order, attributes are quoted and no stray mark is in the text.
fn assert_well_formed(xml: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = xml;
    while let Some(start) = rest.find('<') {
        assert!(!rest[..start].contains('>'), "a stray > before {:?}", &rest[start..]);
        let end = rest.find('>').expect("a tag ends");
        let tag = &rest[start + 1..end];
        assert!(!tag.contains('<') && tag.matches('"').count().is_multiple_of(2), "{tag}");
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.ends_with('/') {
            open.push(name);
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} {rest:?}");
    let is_entity = |after: &str| ["amp;", "lt;", "gt;"].iter().any(|entity| after.starts_with(entity));
    assert!(xml.match_indices('&').all(|(at, _)| is_entity(&xml[at + 1..])));
}

#[test]
fn charts_are_well_formed_and_show_every_point() {
    for scale in [Scale::Linear, Scale::Log] {
        let points = [(1.0, 10.0), (8.0, 40.0), (64.0, 45.5)];
        let drawn = svg(&[chart(&["ours", "law", "a < b"], &points, scale), chart(&["ours"], &points, scale)]);
        assert_well_formed(&drawn);
        // The law has no marks: two programs in the first chart, one in the second.
        assert_eq!(drawn.matches("<circle").count(), 3 * points.len());
        assert_eq!(drawn.matches("<polyline").count(), 4);
        assert_eq!(drawn.matches("class=\"key\"").count(), 4);
        assert!(drawn.contains("decode &amp; &lt;batch&gt;") && drawn.contains("prefers-color-scheme:dark"));
    }
}

#[test]
fn a_law_has_the_colour_of_its_program_and_who_has_no_points_no_place() {
    let mut two = chart(&["ours", "law", "theirs", "absent"], &[(1.0, 2.0), (2.0, 3.0)], Scale::Log);
    two.series[3].points.clear();
    let drawn = svg(&[two]);
    let colours: Vec<_> = drawn.lines().filter(|line| line.starts_with("<polyline")).collect();
    assert_eq!(colours.len(), 3);
    assert!(colours[0].contains("#0072b2") && colours[1].contains("#0072b2") && colours[2].contains("#d55e00"));
    assert!(colours[1].contains("stroke-dasharray") && !drawn.contains("absent"), "{drawn}");
}

#[test]
fn no_number_breaks_a_chart() {
    let cases: [&[(f64, f64)]; 5] =
        [&[], &[(0.0, 0.0)], &[(5.0, 5.0)], &[(f64::NAN, f64::INFINITY), (1.0, 2.0)], &[(1e-9, 1e12), (1e9, 1e-12)]];
    for points in cases {
        for scale in [Scale::Linear, Scale::Log] {
            let drawn = svg(&[chart(&["ours"], points, scale)]);
            assert_well_formed(&drawn);
            assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{points:?}: {drawn}");
        }
    }
    assert_well_formed(&svg(&[]));
}

#[test]
fn places_lie_inside_of_the_axes_in_order() {
    for scale in [Scale::Linear, Scale::Log] {
        let x = Ruler::new(scale, [512.0, 32_768.0].into_iter(), (LEFT, RIGHT));
        assert!(LEFT <= x.place(512.0) && x.place(512.0) < x.place(4096.0) && x.place(32_768.0) <= RIGHT);
        let y = Ruler::new(scale, [1.0, 10.0].into_iter(), (BOTTOM, TOP));
        assert!(y.place(1.0) > y.place(10.0), "more is higher");
    }
}

#[test]
fn ticks_are_round_and_few() {
    let ticks = |scale, min, max| Ruler::new(scale, [min, max].into_iter(), (0.0, 1.0)).ticks();
    assert_eq!(ticks(Scale::Log, 1.0, 64.0), [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]);
    assert_eq!(ticks(Scale::Log, 17.0, 30.0), [16.0, 32.0]);
    assert_eq!(ticks(Scale::Linear, 3.0, 10.0), [0.0, 5.0, 10.0]);
    for (min, max) in [(1.0, 1e9), (0.001, 0.002), (100.0, 32_768.0)] {
        for scale in [Scale::Linear, Scale::Log] {
            let found = ticks(scale, min, max);
            assert!((1..=11).contains(&found.len()), "{scale:?} {min} to {max}: {found:?}");
        }
    }
}
