//! How metrics are written as text: families, labels, cumulative buckets. The `prometheus` crate lives here.
//! Knows neither which metrics there are nor where the numbers come from.

use prometheus::TextEncoder;
use prometheus::proto::{self, LabelPair, Metric, MetricFamily, MetricType};

use super::counters::BUCKET_BOUNDS_US;

/// Counts by bucket, not cumulative; the last one holds what exceeds every bound.
pub(super) type Buckets = [u64; BUCKET_BOUNDS_US.len() + 1];

/// A page under construction, family by family.
#[derive(Default)]
pub(super) struct Page {
    families: Vec<MetricFamily>,
}

impl Page {
    /// The page as text.
    pub(super) fn text(&self) -> String {
        match TextEncoder::new().encode_to_string(&self.families) {
            Ok(text) => text,
            // The encoder refuses only families without a name or a sample, and no such is added here.
            Err(error) => format!("# The metrics could not be written as text: {error}\n"),
        }
    }

    pub(super) fn counters(
        &mut self,
        name: &str,
        help: &str,
        samples: impl Iterator<Item = (Vec<LabelPair>, f64)>,
    ) {
        let metrics = samples.map(|(labels, value)| {
            let mut counter = proto::Counter::default();
            counter.set_value(value);
            let mut metric = Metric::from_label(labels);
            metric.set_counter(counter);
            metric
        });
        self.family(name, help, MetricType::COUNTER, metrics.collect());
    }

    pub(super) fn gauges(
        &mut self,
        name: &str,
        help: &str,
        samples: impl Iterator<Item = (Vec<LabelPair>, f64)>,
    ) {
        let metrics = samples.map(|(labels, value)| {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value);
            let mut metric = Metric::from_label(labels);
            metric.set_gauge(gauge);
            metric
        });
        self.family(name, help, MetricType::GAUGE, metrics.collect());
    }

    /// One sample: the labels, the buckets of every worker added up (not cumulative), the sum in microseconds.
    pub(super) fn histograms(
        &mut self,
        name: &str,
        help: &str,
        samples: impl Iterator<Item = (Vec<LabelPair>, Buckets, u64)>,
    ) {
        let metrics = samples.map(|(labels, buckets, sum_us)| {
            let mut metric = Metric::from_label(labels);
            metric.set_histogram(histogram(&buckets, sum_us));
            metric
        });
        self.family(name, help, MetricType::HISTOGRAM, metrics.collect());
    }

    /// A family without samples is left out: the encoder takes it for a mistake.
    fn family(&mut self, name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) {
        if metrics.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.families.push(family);
    }
}

/// `buckets` are not cumulative and the last one holds what exceeds every bound; the result is cumulative,
/// and its count is the sum of what was read, so that `+Inf` and `_count` always agree.
fn histogram(buckets: &Buckets, sum_us: u64) -> proto::Histogram {
    let mut below = 0;
    let cumulative = BUCKET_BOUNDS_US.iter().zip(buckets).map(|(&bound, count)| {
        below += count;
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(bound as f64 / 1e6);
        bucket.set_cumulative_count(below);
        bucket
    });
    let mut histogram = proto::Histogram::default();
    histogram.set_bucket(cumulative.collect());
    histogram.set_sample_count(buckets.iter().sum());
    histogram.set_sample_sum(sum_us as f64 / 1e6);
    histogram
}

pub(super) fn label(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

pub(super) fn with(mut labels: Vec<LabelPair>, name: &str, value: &str) -> Vec<LabelPair> {
    labels.push(label(name, value));
    labels
}
