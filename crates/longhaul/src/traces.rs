//! What can be set of traces.

use clap::{Args, ValueEnum};
use longhaul_telemetry::{Sampling, TraceSettings};

/// The collector and the sampler of traces. The environment variables have the names of
/// OpenTelemetry's specification.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct TraceArgs {
    /// Send traces to this OpenTelemetry collector, by OTLP over HTTP.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    otlp_endpoint: Option<String>,
    /// Headers for the collector as name=value, separated by commas.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_HEADERS", hide_env_values = true, value_name = "HEADERS")]
    otlp_headers: Option<String>,
    /// The service name in traces. Default: the program's name.
    #[arg(long, env = "OTEL_SERVICE_NAME", value_name = "NAME")]
    service_name: Option<String>,
    /// The trace sampler. Default: sampled traces of callers, and all new traces.
    #[arg(long, env = "OTEL_TRACES_SAMPLER", value_enum)]
    traces_sampler: Option<Sampler>,
    /// The fraction of traces that a traceidratio sampler records.
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG", value_name = "RATIO", value_parser = ratio)]
    traces_sampler_arg: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Sampler {
    AlwaysOn,
    AlwaysOff,
    #[value(name = "traceidratio")]
    Ratio,
    #[value(name = "parentbased_always_on")]
    ParentOrOn,
    #[value(name = "parentbased_always_off")]
    ParentOrOff,
    #[value(name = "parentbased_traceidratio")]
    ParentOrRatio,
}

fn ratio(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(part) if (0.0..=1.0).contains(&part) => Ok(part),
        _ => Err("a number from 0 to 1 is expected; 0.05 is one trace in twenty".to_owned()),
    }
}

impl TraceArgs {
    pub(crate) fn settings(self) -> TraceSettings {
        let ratio = self.traces_sampler_arg.unwrap_or(1.0);
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        TraceSettings {
            endpoint: given(self.otlp_endpoint),
            headers: given(self.otlp_headers),
            service_name: given(self.service_name),
            sampling: match self.traces_sampler {
                None | Some(Sampler::ParentOrOn) => Sampling { parent: true, ratio: 1.0 },
                Some(Sampler::ParentOrOff) => Sampling { parent: true, ratio: 0.0 },
                Some(Sampler::ParentOrRatio) => Sampling { parent: true, ratio },
                Some(Sampler::AlwaysOn) => Sampling { parent: false, ratio: 1.0 },
                Some(Sampler::AlwaysOff) => Sampling { parent: false, ratio: 0.0 },
                Some(Sampler::Ratio) => Sampling { parent: false, ratio },
            },
        }
    }
}
