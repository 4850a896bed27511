//! What reflection tells of the service: the descriptors of its messages, made of a table.
//!
//! A field is its number, its name, and its type; before the type, `*` is a list, `map` a map from strings, `one` a
//! choice among those that say so.

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet, MessageOptions,
    MethodDescriptorProto, OneofDescriptorProto, ServiceDescriptorProto,
};

const PACKAGE: &str = "inference";
/// The service's name within its package.
const SERVICE: &str = "GRPCInferenceService";

/// A method, what it takes and what it gives.
const METHODS: &[(&str, &str, &str)] = &[
    ("ServerLive", "ServerLiveRequest", "ServerLiveResponse"),
    ("ServerReady", "ServerReadyRequest", "ServerReadyResponse"),
    ("ModelReady", "ModelReadyRequest", "ModelReadyResponse"),
    ("ServerMetadata", "ServerMetadataRequest", "ServerMetadataResponse"),
    ("ModelMetadata", "ModelMetadataRequest", "ModelMetadataResponse"),
    ("ModelInfer", "ModelInferRequest", "ModelInferResponse"),
    ("ModelStreamInfer", "ModelInferRequest", "ModelStreamInferResponse"),
    ("ModelConfig", "ModelConfigRequest", "ModelConfigResponse"),
    ("ModelStatistics", "ModelStatisticsRequest", "ModelStatisticsResponse"),
    ("RepositoryIndex", "RepositoryIndexRequest", "RepositoryIndexResponse"),
    ("RepositoryModelLoad", "RepositoryModelLoadRequest", "RepositoryModelLoadResponse"),
    ("RepositoryModelUnload", "RepositoryModelUnloadRequest", "RepositoryModelUnloadResponse"),
];

const NAMED: &[&str] = &["1 name string", "2 version string"];
const TENSOR: &[&str] = &[
    "1 name string",
    "2 datatype string",
    "3 shape * int64",
    "4 parameters map InferParameter",
    "5 contents InferTensorContents",
];
const MANAGED: &[&str] =
    &["1 repository_name string", "2 model_name string", "3 parameters map ModelRepositoryParameter"];

/// Messages and their fields; one within another has both names.
const MESSAGES: &[(&str, &[&str])] = &[
    ("ServerLiveRequest", &[]),
    ("ServerLiveResponse", &["1 live bool"]),
    ("ServerReadyRequest", &[]),
    ("ServerReadyResponse", &["1 ready bool"]),
    ("ModelReadyRequest", NAMED),
    ("ModelReadyResponse", &["1 ready bool"]),
    ("ServerMetadataRequest", &[]),
    ("ServerMetadataResponse", &["1 name string", "2 version string", "3 extensions * string"]),
    ("ModelMetadataRequest", NAMED),
    (
        "ModelMetadataResponse",
        &[
            "1 name string",
            "2 versions * string",
            "3 platform string",
            "4 inputs * ModelMetadataResponse.TensorMetadata",
            "5 outputs * ModelMetadataResponse.TensorMetadata",
        ],
    ),
    ("ModelMetadataResponse.TensorMetadata", &["1 name string", "2 datatype string", "3 shape * int64"]),
    (
        "InferParameter",
        &[
            "1 bool_param one bool",
            "2 int64_param one int64",
            "3 string_param one string",
            "4 double_param one double",
            "5 uint64_param one uint64",
        ],
    ),
    (
        "InferTensorContents",
        &[
            "1 bool_contents * bool",
            "2 int_contents * int32",
            "3 int64_contents * int64",
            "4 uint_contents * uint32",
            "5 uint64_contents * uint64",
            "6 fp32_contents * float",
            "7 fp64_contents * double",
            "8 bytes_contents * bytes",
        ],
    ),
    (
        "ModelInferRequest",
        &[
            "1 model_name string",
            "2 model_version string",
            "3 id string",
            "4 parameters map InferParameter",
            "5 inputs * ModelInferRequest.InferInputTensor",
            "6 outputs * ModelInferRequest.InferRequestedOutputTensor",
            "7 raw_input_contents * bytes",
        ],
    ),
    ("ModelInferRequest.InferInputTensor", TENSOR),
    ("ModelInferRequest.InferRequestedOutputTensor", &["1 name string", "2 parameters map InferParameter"]),
    (
        "ModelInferResponse",
        &[
            "1 model_name string",
            "2 model_version string",
            "3 id string",
            "4 parameters map InferParameter",
            "5 outputs * ModelInferResponse.InferOutputTensor",
            "6 raw_output_contents * bytes",
        ],
    ),
    ("ModelInferResponse.InferOutputTensor", TENSOR),
    ("ModelStreamInferResponse", &["1 error_message string", "2 infer_response ModelInferResponse"]),
    ("ModelConfigRequest", NAMED),
    ("ModelConfigResponse", &["1 config ModelConfig"]),
    (
        "ModelConfig",
        &[
            "1 name string",
            "2 platform string",
            "4 max_batch_size int32",
            "5 input * ModelInput",
            "6 output * ModelOutput",
            "7 instance_group * ModelInstanceGroup",
            "11 dynamic_batching ModelDynamicBatching",
            "17 backend string",
        ],
    ),
    ("ModelInstanceGroup", &["2 count int32", "4 kind int32"]),
    ("ModelInput", &["1 name string", "2 data_type int32", "4 dims * int64"]),
    ("ModelOutput", &["1 name string", "2 data_type int32", "3 dims * int64"]),
    (
        "ModelDynamicBatching",
        &[
            "1 preferred_batch_size * int32",
            "2 max_queue_delay_microseconds uint64",
            "4 priority_levels uint64",
            "5 default_priority_level uint64",
            "6 default_queue_policy ModelQueuePolicy",
        ],
    ),
    ("ModelQueuePolicy", &["4 max_queue_size uint32"]),
    ("ModelStatisticsRequest", NAMED),
    ("ModelStatisticsResponse", &["1 model_stats * ModelStatistics"]),
    (
        "ModelStatistics",
        &[
            "1 name string",
            "2 version string",
            "3 last_inference uint64",
            "4 inference_count uint64",
            "5 execution_count uint64",
            "6 inference_stats InferStatistics",
            "7 batch_stats * InferBatchStatistics",
        ],
    ),
    (
        "InferStatistics",
        &[
            "1 success StatisticDuration",
            "2 fail StatisticDuration",
            "3 queue StatisticDuration",
            "4 compute_input StatisticDuration",
            "5 compute_infer StatisticDuration",
            "6 compute_output StatisticDuration",
            "7 cache_hit StatisticDuration",
            "8 cache_miss StatisticDuration",
        ],
    ),
    (
        "InferBatchStatistics",
        &[
            "1 batch_size uint64",
            "2 compute_input StatisticDuration",
            "3 compute_infer StatisticDuration",
            "4 compute_output StatisticDuration",
        ],
    ),
    ("StatisticDuration", &["1 count uint64", "2 ns uint64"]),
    ("RepositoryIndexRequest", &["1 repository_name string", "2 ready bool"]),
    ("RepositoryIndexResponse", &["1 models * RepositoryIndexResponse.ModelIndex"]),
    ("RepositoryIndexResponse.ModelIndex", &["1 name string", "2 version string", "3 state string", "4 reason string"]),
    (
        "ModelRepositoryParameter",
        &["1 bool_param one bool", "2 int64_param one int64", "3 string_param one string", "4 bytes_param one bytes"],
    ),
    ("RepositoryModelLoadRequest", MANAGED),
    ("RepositoryModelLoadResponse", &[]),
    ("RepositoryModelUnloadRequest", MANAGED),
    ("RepositoryModelUnloadResponse", &[]),
];

/// All of it.
pub(super) fn descriptors() -> FileDescriptorSet {
    let mut messages: Vec<DescriptorProto> = Vec::new();
    for (name, fields) in MESSAGES {
        match name.split_once('.') {
            None => messages.push(message(name, name, fields)),
            Some((outer, inner)) => {
                let outer = messages.iter_mut().find(|message| message.name() == outer);
                outer
                    .expect("the outer message stands before the inner")
                    .nested_type
                    .push(message(name, inner, fields));
            }
        }
    }
    let method = |(name, takes, gives): &(&str, &str, &str)| MethodDescriptorProto {
        name: Some((*name).to_owned()),
        input_type: Some(full(takes)),
        output_type: Some(full(gives)),
        client_streaming: Some(name.contains("Stream")),
        server_streaming: Some(name.contains("Stream")),
        ..MethodDescriptorProto::default()
    };
    let service = ServiceDescriptorProto {
        name: Some(SERVICE.to_owned()),
        method: METHODS.iter().map(method).collect(),
        ..ServiceDescriptorProto::default()
    };
    let file = FileDescriptorProto {
        name: Some("grpc_service.proto".to_owned()),
        package: Some(PACKAGE.to_owned()),
        message_type: messages,
        service: vec![service],
        syntax: Some("proto3".to_owned()),
        ..FileDescriptorProto::default()
    };
    FileDescriptorSet { file: vec![file] }
}

fn full(name: &str) -> String {
    format!(".{PACKAGE}.{name}")
}

fn message(full_name: &str, name: &str, fields: &[&str]) -> DescriptorProto {
    let mut message = DescriptorProto { name: Some(name.to_owned()), ..DescriptorProto::default() };
    for row in fields {
        let mut words = row.split(' ');
        let mut word = || words.next().expect("a field has its number, its name and its type");
        let number: i32 = word().parse().expect("a field has a number");
        let (name, mut of) = (word(), word());
        let how = if ["*", "map", "one"].contains(&of) { Some(std::mem::replace(&mut of, word())) } else { None };
        let mut field = field(number, name, of);
        match how {
            Some("one") => {
                field.oneof_index = Some(0);
                let choice = || OneofDescriptorProto { name: Some("parameter_choice".to_owned()), options: None };
                if message.oneof_decl.is_empty() {
                    message.oneof_decl.push(choice());
                }
            }
            Some("map") => {
                let entry = "ParametersEntry";
                let options = MessageOptions { map_entry: Some(true), ..MessageOptions::default() };
                let mut of_map = self::message("", entry, &["1 key string", &format!("2 value {of}")]);
                of_map.options = Some(options);
                message.nested_type.push(of_map);
                field.set_type(Type::Message);
                field.type_name = Some(full(&format!("{full_name}.{entry}")));
                field.set_label(Label::Repeated);
            }
            Some(_) => field.set_label(Label::Repeated),
            None => {}
        }
        message.field.push(field);
    }
    message
}

fn field(number: i32, name: &str, of: &str) -> FieldDescriptorProto {
    let mut field =
        FieldDescriptorProto { name: Some(name.to_owned()), number: Some(number), ..FieldDescriptorProto::default() };
    field.set_label(Label::Optional);
    let scalar = [
        ("bool", Type::Bool),
        ("bytes", Type::Bytes),
        ("double", Type::Double),
        ("float", Type::Float),
        ("int32", Type::Int32),
        ("int64", Type::Int64),
        ("string", Type::String),
        ("uint32", Type::Uint32),
        ("uint64", Type::Uint64),
    ];
    match scalar.into_iter().find(|(word, _)| *word == of) {
        Some((_, scalar)) => field.set_type(scalar),
        None => {
            field.set_type(Type::Message);
            field.type_name = Some(full(of));
        }
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::grpc_routes;

    #[test]
    fn every_method_has_a_route_and_every_type_is_there() {
        let paths: Vec<&str> = grpc_routes().iter().map(|route| route.path).collect();
        for (method, takes, gives) in METHODS {
            assert!(paths.contains(&&*format!("/{PACKAGE}.{SERVICE}/{method}")), "{method}");
            for name in [takes, gives] {
                assert!(MESSAGES.iter().any(|(known, _)| known == name), "{name}");
            }
        }
        let own = paths.iter().filter(|path| path.starts_with("/inference.") && !path.contains('{'));
        assert_eq!(own.count(), METHODS.len());
        let all = descriptors();
        let fields = all.file[0].message_type.iter().flat_map(|message| {
            message.field.iter().chain(message.nested_type.iter().flat_map(|inner| inner.field.iter()))
        });
        for field in fields.filter_map(|field| field.type_name.as_deref()) {
            let name = field.trim_start_matches(".inference.");
            let is_known = MESSAGES.iter().any(|(known, _)| *known == name) || name.ends_with(".ParametersEntry");
            assert!(is_known, "{field}");
        }
    }
}
