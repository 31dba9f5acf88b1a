//! The section `indexes`: from its mirror to the adviser's settings.

use super::mirror;
use super::resolve::not_zero;
use crate::advise::AdviseSettings;
use crate::config::resolve::{Context, size};

pub(super) fn resolve(context: &mut Context<'_>, indexes: &mirror::Indexes) -> AdviseSettings {
    not_zero(context, &["indexes", "every"], indexes.every);
    if indexes.auto.enabled {
        let message =
            "building indexes without being told is not available yet; `pgweir advise` prints what to run";
        context.wrong(&["indexes", "auto", "enabled"], message);
    }
    if !indexes.name.contains("{columns}") {
        let message = "the name needs {columns}, or indexes of one table could not be told apart";
        context.wrong(&["indexes", "name"], message);
    }
    for (at, pattern) in indexes.ignore.iter().enumerate() {
        if !pattern.contains(['.', '*']) {
            let message = "expected schema.name, with * for anything, such as public.tmp_*";
            context.wrong(&["indexes", "ignore", &at.to_string()], message);
        }
    }
    for (at, entry) in indexes.dismiss.iter().enumerate() {
        let digits = entry.id.strip_prefix("ix-").unwrap_or_default();
        if digits.len() != 8 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let message = "expected an id such as ix-1234abcd, as `pgweir advise` prints it";
            context.wrong(&["indexes", "dismiss", &at.to_string(), "id"], message);
        }
    }
    AdviseSettings {
        enabled: indexes.enabled,
        budget_bytes: indexes.budget_mb << 20,
        ignore: indexes.ignore.clone(),
        dismissed: indexes.dismiss.iter().map(|entry| entry.id.clone()).collect(),
        min_table_bytes: indexes.min_table.0,
        min_rows: indexes.min_rows,
        min_gain_percent: indexes.min_gain_percent,
        max_per_table: size(indexes.max_per_table),
        name: indexes.name.clone(),
        every_s: indexes.every.0.as_secs().max(1),
        unused_after_days: indexes.unused_after_days,
        ..AdviseSettings::default()
    }
}
