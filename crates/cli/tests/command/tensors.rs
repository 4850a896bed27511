//! `ballast serve` with tensor models: every option, and every field of a model's configuration, does what it says.

use crate::http::{get, post};
use crate::predict::onnx;
use crate::serve::Server;
use crate::support::Home;
use serde_json::{Value, json};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::thread;

/// A server of tensor models alone.
fn served(home: &Home, args: &[&str]) -> Server {
    Server::spawn(&mut home.command(&[&["serve", "--port", "0", "--no-auth"], args].concat()))
}

/// Writes files into the folder of a repository and returns its path.
fn repository(home: &Home, files: &[(&str, &[u8])]) -> String {
    let folder = home.path("repository");
    for (path, bytes) in files {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    folder.to_str().unwrap().to_owned()
}

/// Asks for `y` of so many rows of zeros, which is the bias of the file that answers.
fn question(n_rows: usize) -> Value {
    json!({"inputs": [{"name": "x", "datatype": "FP32", "shape": [n_rows, 3], "data": vec![0; n_rows * 3]}]})
}

fn first_row(address: SocketAddr, path: &str) -> Value {
    post(address, path, None, &question(1)).json()["outputs"][0]["data"].clone()
}

fn told(address: SocketAddr, path: &str) -> Value {
    get(address, path, None).json()
}

/// Threads of a process that compute.
#[cfg(target_os = "linux")]
fn n_compute_threads(pid: u32) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let names = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default());
    names.filter(|name| name.starts_with("ballast-compute")).count()
}

#[test]
fn each_tensor_model_is_served_by_the_name_it_is_given() {
    let home = Home::new();
    let (one, two) = (home.file("one.onnx", onnx([1.0; 3])), home.file("two.onnx", onnx([2.0; 3])));
    let (named, same) = (format!("other={two}"), format!("one={two}"));
    let server = served(&home, &["--tensor-model", &one, "--tensor-model", &named]);
    for (name, bias) in [("one", 1.0), ("other", 2.0)] {
        assert_eq!(first_row(server.address(), &format!("/v2/models/{name}/infer")), json!([bias, bias, bias]));
        let about = told(server.address(), &format!("/v2/models/{name}"));
        assert_eq!((&about["name"], &about["platform"]), (&json!(name), &json!("onnx")));
    }
    assert_eq!(get(server.address(), "/v2/models/two", None).status, 404);
    assert_eq!(server.end("-TERM").code, Some(0));
    home.ballast(&["serve", "--tensor-model", &one, "--tensor-model", &same]).fails(2, "two tensor models");
    let none = home.path("none.onnx");
    home.ballast(&["serve", "--port", "0", "--tensor-model", none.to_str().unwrap()]).fails(1, "none");
    let folder = repository(&home, &[("one/1/model.onnx", &onnx([3.0; 3]))]);
    let args = ["serve", "--port", "0", "--tensor-model", &one, "--model-repository", &folder];
    for start in ["all", "none"] {
        home.ballast(&[&args[..], &["--load-tensor-models", start]].concat()).fails(2, "another is named so");
    }
}

#[test]
fn a_repository_is_loaded_at_the_start_or_when_a_caller_wants_it() {
    let home = Home::new();
    let folder = repository(&home, &[("a/1/model.onnx", &onnx([1.0; 3])), ("b/7/model.onnx", &onnx([2.0; 3]))]);
    let index = |address| {
        let mut rows = post(address, "/v2/repository/index", None, &json!({})).json();
        rows.as_array_mut().unwrap().sort_by_key(|row| row["name"].to_string());
        rows
    };
    let server = served(&home, &["--model-repository", &folder]);
    let row = |name: &str, version: &str| json!({"name": name, "version": version, "state": "READY", "reason": ""});
    assert_eq!(index(server.address()), json!([row("a", "1"), row("b", "7")]));
    server.end("-TERM");
    let server = served(&home, &["--model-repository", &folder, "--load-tensor-models", "none"]);
    assert_eq!(index(server.address()), json!([{"name": "a"}, {"name": "b"}]));
    assert_eq!(post(server.address(), "/v2/models/b/infer", None, &question(1)).status, 404);
    assert_eq!(post(server.address(), "/v2/repository/models/b/load", None, &json!({})).status, 200);
    assert_eq!(index(server.address()), json!([{"name": "a"}, row("b", "7")]));
    assert_eq!(first_row(server.address(), "/v2/models/b/infer"), json!([2.0, 2.0, 2.0]));
    server.end("-TERM");
    repository(&home, &[("c/1/model.onnx", b"no model")]);
    home.ballast(&["serve", "--port", "0", "--model-repository", &folder]).fails(1, "tensor model c");
    let server = served(&home, &["--model-repository", &folder, "--load-tensor-models", "none"]);
    assert_eq!(post(server.address(), "/v2/repository/models/c/load", None, &json!({})).status, 400);
    let none = home.path("no-folder");
    let gone = ["serve", "--port", "0", "--model-repository", none.to_str().unwrap(), "--load-tensor-models", "none"];
    home.ballast(&gone).fails(1, "cannot be read");
}

#[test]
fn instances_are_as_many_as_asked_for_unless_the_configuration_says() {
    let home = Home::new();
    let own: &[u8] = b"instance_group [ { kind: KIND_CPU count: 2 }, { count: 1 } ]";
    let files = [("a/1/model.onnx", &onnx([1.0; 3])[..]), ("b/1/model.onnx", &onnx([1.0; 3])), ("b/config.pbtxt", own)];
    let folder = repository(&home, &files);
    let model = home.file("c.onnx", onnx([1.0; 3]));
    let args = ["--model-repository", &folder, "--tensor-model", &model];
    for (more, usual) in [(&[][..], 1), (&["--tensor-instances", "2"], 2)] {
        let server = served(&home, &[&args[..], more].concat());
        for (name, count) in [("a", usual), ("b", 3), ("c", usual)] {
            let config = told(server.address(), &format!("/v2/models/{name}/config"));
            assert_eq!(config["instance_group"], json!([{"kind": "KIND_CPU", "count": count}]), "{name}");
        }
        server.end("-TERM");
    }
    home.ballast(&["serve", "--tensor-model", &model, "--tensor-instances", "0"]).fails(2, "--tensor-instances");
}

#[cfg(target_os = "linux")]
#[test]
fn threads_are_as_many_as_asked_for_unless_the_configuration_says() {
    let home = Home::new();
    let own: &[u8] = b"parameters { key: \"intra_op_thread_count\" value: { string_value: \"9\" } }";
    let files = [("a/1/model.onnx", &onnx([1.0; 3])[..]), ("b/1/model.onnx", &onnx([1.0; 3])), ("b/config.pbtxt", own)];
    let folder = repository(&home, &files);
    // The thread that asks an instance computes too: it is the first of those asked for.
    for (n_threads, name, others) in [("1", "a", 0), ("6", "a", 5), ("1", "b", 8)] {
        let args = ["--model-repository", &folder, "--load-tensor-models", "none", "--tensor-threads", n_threads];
        let server = served(&home, &args);
        post(server.address(), &format!("/v2/repository/models/{name}/load"), None, &json!({}));
        assert_eq!(first_row(server.address(), &format!("/v2/models/{name}/infer")), json!([1.0, 1.0, 1.0]));
        assert_eq!(n_compute_threads(server.pid()), others, "{name} with {n_threads}");
        server.end("-TERM");
    }
    home.ballast(&["serve", "--model-repository", &folder, "--tensor-threads", "0"]).fails(2, "--tensor-threads");
}

/// Everything that a configuration may say, of a model with three versions.
const CONFIG: &str = r#"
    name: "m" platform: "onnxruntime_onnx" backend: "onnxruntime" default_model_filename: "net.onnx"
    max_batch_size: 4
    input [ { name: "x" data_type: TYPE_FP32 dims: [ 3 ] } ]
    output [ { name: "y" data_type: TYPE_FP32 dims: [ 3 ] label_filename: "labels.txt" } ]
    dynamic_batching {
        preferred_batch_size: [ 3 ] max_queue_delay_microseconds: 3600000000
        default_queue_policy { max_queue_size: 1 }
    }
    version_policy { specific { versions: [ 1, 3 ] } }
"#;

fn configured(home: &Home) -> Server {
    let bias = |version: f32| onnx([version, 0.0, 0.0]);
    let folder = repository(
        home,
        &[
            ("m/config.pbtxt", CONFIG.as_bytes()),
            ("m/labels.txt", b"cat\ndog\nfox\n"),
            ("m/1/net.onnx", &bias(1.0)),
            ("m/2/net.onnx", &bias(2.0)),
            ("m/3/net.onnx", &bias(3.0)),
            ("m/3/model.onnx", &bias(4.0)),
            ("joined/config.pbtxt", CONFIG.replace("size: 1", "size: 9").replace("\"m\"", "\"joined\"").as_bytes()),
            ("joined/labels.txt", b""),
            ("joined/1/net.onnx", &bias(1.0)),
        ],
    );
    served(home, &["--model-repository", &folder])
}

#[test]
fn a_configuration_says_which_versions_and_files_and_labels_are_served() {
    let home = Home::new();
    let server = configured(&home);
    assert_eq!(told(server.address(), "/v2/models/m")["versions"], json!(["1", "3"]));
    assert_eq!(get(server.address(), "/v2/models/m/versions/2", None).status, 404);
    let mut body = question(4);
    body["outputs"] = json!([{"name": "y", "parameters": {"classification": 1}}]);
    for (version, score) in [("1", "1.000000:0:cat"), ("3", "3.000000:0:cat")] {
        let path = format!("/v2/models/m/versions/{version}/infer");
        let answer = post(server.address(), &path, None, &body).json();
        assert_eq!(answer["outputs"][0]["data"], json!([score, score, score, score]), "{answer}");
    }
    let config = told(server.address(), "/v2/models/m/config");
    assert_eq!((&config["max_batch_size"], &config["input"][0]["dims"]), (&json!(4), &json!([3])));
    assert_eq!(server.end("-TERM").code, Some(0));
}

#[test]
fn a_configuration_says_how_requests_are_joined() {
    let home = Home::new();
    let server = configured(&home);
    let address = server.address();
    let path = "/v2/models/joined/infer";
    assert_eq!(post(address, path, None, &question(5)).status, 400, "more than a batch may have");
    // One item waits for an hour; with two more there are as many as are preferred.
    let waiting = thread::spawn(move || post(address, path, None, &question(1)).status);
    wait_pending(address, "joined");
    assert_eq!(post(address, path, None, &question(2)).status, 200);
    assert_eq!(waiting.join().unwrap(), 200);
    let stats = &told(address, "/v2/models/joined/stats")["model_stats"][0];
    assert_eq!((&stats["execution_count"], &stats["inference_count"]), (&json!(1), &json!(3)));
    assert_eq!(stats["batch_stats"][0]["batch_size"], 3);
    // One may wait at `m`, and leaves when its caller does.
    let mut caller = TcpStream::connect(address).unwrap();
    let body = question(1).to_string();
    let head = "POST /v2/models/m/infer HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    caller.write_all(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).unwrap();
    wait_pending(address, "m");
    let refused = post(address, "/v2/models/m/infer", None, &question(1));
    assert_eq!((refused.status, refused.body.contains("at most 1")), (503, true), "{refused:?}");
    drop(caller);
    assert_eq!(server.end("-TERM").code, Some(0));
}

/// Waits until a request waits at the model.
fn wait_pending(address: SocketAddr, model: &str) {
    let name = format!("nv_inference_pending_request_count{{model=\"{model}\"");
    let is_pending = |line: &str| line.starts_with(&name) && line.ends_with(" 1");
    while !get(address, "/metrics", None).body.lines().any(is_pending) {
        thread::yield_now();
    }
}

#[test]
fn a_configuration_that_cannot_be_obeyed_ends_the_start_by_the_fields_name() {
    let home = Home::new();
    for (config, field) in [
        ("sequence_batching {}", "sequence_batching"),
        ("parameters { key: \"execution_mode\" value: { string_value: \"1\" } }", "parameters.execution_mode"),
        ("input { name: \"x\" data_type: TYPE_INT64 dims: [ -1, 3 ] }", "expected TYPE_INT64"),
        ("output { name: \"z\" data_type: TYPE_FP32 dims: [ -1, 3 ] }", "config.pbtxt: z"),
        ("name: \"n\"", "expected name \"m\""),
        ("default_model_filename: \"net.onnx\"", "net.onnx"),
        ("max_batch_size: 4 dynamic_batching { preferred_batch_size: 5 }", "preferred"),
        ("version_policy { specific { versions: 2 } }", "a version's number"),
    ] {
        let folder = repository(&home, &[("m/config.pbtxt", config.as_bytes()), ("m/1/model.onnx", &onnx([0.0; 3]))]);
        let ran = home.ballast(&["serve", "--port", "0", "--model-repository", &folder]);
        assert!(ran.stderr.contains("tensor model m"), "{config}: {ran:?}");
        ran.fails(1, field);
    }
}
