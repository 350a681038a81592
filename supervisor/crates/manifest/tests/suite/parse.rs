//! What valid manifests mean.

use std::time::Duration;

use plugbay_manifest::{
    Dialect, FilesystemPermission, Framing, NetworkPermission, OnLoss, Restart, Sdk, SystemCalls,
};
use serde_json::json;

use crate::{FULL, MINIMAL, parse};

#[test]
fn a_minimal_manifest_gets_the_defaults() {
    let manifest = parse(MINIMAL).unwrap();
    assert_eq!(manifest.plugin.name.as_str(), "words");
    assert_eq!(manifest.plugin.kind, "plugin");
    assert_eq!(manifest.runtime.command, ["./words"]);
    assert_eq!(manifest.runtime.dialect, Dialect::Plugbay);
    assert_eq!(manifest.runtime.framing, Framing::Line);
    assert_eq!(manifest.runtime.sdk, None);
    assert_eq!(manifest.permissions.network, NetworkPermission::None);
    assert_eq!(manifest.permissions.filesystem, FilesystemPermission::None);
    assert_eq!(manifest.limits.call_timeout, Duration::from_secs(30));
    assert_eq!(manifest.supervision.restart, Restart::OnFailure);
    assert!(manifest.dependencies.plugbay.matches(&"0.1.0".parse().unwrap()));
}

#[test]
#[expect(clippy::too_many_lines, reason = "the snapshot is the whole manifest")]
fn a_full_manifest_is_read_to_the_last_key() {
    let manifest = parse(FULL).unwrap();
    assert_eq!(manifest.runtime.command, ["python3", "main.py", "--label", "two words"]);
    assert_eq!(manifest.limits.cpu_milli, Some(1500));
    assert_eq!(manifest.permissions.system_calls, SystemCalls::Default);
    assert_eq!(manifest.call_timeout("count"), Duration::from_secs(2));
    assert_eq!(manifest.call_timeout("forget"), Duration::from_secs(10));
    assert_eq!(manifest.call_timeout("unheard of"), Duration::from_secs(10));
    insta::assert_json_snapshot!(manifest, @r#"
    {
      "plugin": {
        "name": "words",
        "version": "1.2.0",
        "type": "text",
        "description": "Counts words",
        "authors": [
          "Ada <ada@example.org>",
          "Grace"
        ],
        "license": "MIT"
      },
      "runtime": {
        "command": [
          "python3",
          "main.py",
          "--label",
          "two words"
        ],
        "dialect": "plugbay",
        "framing": "line",
        "sdk": "python"
      },
      "methods": {
        "count": {
          "description": "Counts the words of a text",
          "params": {
            "properties": {
              "text": {
                "type": "string"
              }
            },
            "required": [
              "text"
            ],
            "type": "object"
          },
          "result": {
            "properties": {
              "words": {
                "minimum": 0,
                "type": "integer"
              }
            },
            "required": [
              "words"
            ],
            "type": "object"
          },
          "idempotent": true,
          "timeout": "2s"
        },
        "forget": {
          "description": "",
          "params": null,
          "result": null,
          "idempotent": false,
          "timeout": null
        }
      },
      "config": {
        "schema": {
          "additionalProperties": false,
          "properties": {
            "language": {
              "default": "en",
              "type": "string"
            },
            "limit": {
              "minimum": 1,
              "type": "integer"
            }
          },
          "type": "object"
        }
      },
      "dependencies": {
        "plugbay": ">=0.1, <2",
        "plugins": {
          "fonts": {
            "version": "^2",
            "on_loss": "pause",
            "grace": "1s"
          },
          "tokens": {
            "version": "^1.4",
            "on_loss": "notify",
            "grace": "5s"
          }
        }
      },
      "permissions": {
        "network": {
          "only": [
            "*.example.org:443",
            "[fd00::]/8:80",
            "db.example:5432"
          ]
        },
        "filesystem": {
          "paths": {
            "read": [
              "/usr/share/dict",
              "~/notes"
            ],
            "write": [
              "./data"
            ],
            "exec": [
              "./bin"
            ]
          }
        },
        "deny": [
          "~/.ssh",
          "./**/*.key"
        ],
        "system_calls": "default",
        "env": [
          "LANG",
          "MODE=fast"
        ]
      },
      "sandbox": {
        "level": "standard",
        "protections": {
          "files.read": "require",
          "limits.memory": "prefer"
        }
      },
      "limits": {
        "memory": 268435456,
        "cpu": 1.5,
        "pids": 32,
        "open_files": 256,
        "file_size": 1000000000,
        "call_timeout": "10s",
        "max_frame": 1048576
      },
      "supervision": {
        "restart": "always",
        "start": "lazy",
        "start_timeout": "3s",
        "drain_timeout": "10s",
        "stop_timeout": "2s",
        "idle_stop": "10m",
        "instances": 2,
        "spares": 1,
        "max_inflight": 16,
        "backoff_initial": "100ms",
        "backoff_max": "5s",
        "backoff_reset": "1m",
        "breaker": 5,
        "slow_breaker": 20,
        "slow_breaker_leak": "1m",
        "quarantine": "1m",
        "quarantine_max": "30m",
        "give_up_after": 10,
        "ignored_cancel": "kill",
        "circuit": false,
        "exit_codes": {
          "3": "passing"
        },
        "health": {
          "ping_interval": "5s",
          "ping_timeout": "1s",
          "hang_timeout": "20s",
          "busy_timeout": "1m",
          "ready_interval": "2s",
          "ready_timeout": "500ms",
          "ready_failures": 2,
          "ready_successes": 1
        }
      },
      "events": {
        "publishes": [
          "words.counted"
        ],
        "subscribes": [
          "file.*"
        ]
      }
    }
    "#);
}

#[test]
fn schemas_check_parameters_results_and_configuration() {
    let manifest = parse(FULL).unwrap();
    let count = &manifest.methods["count"];
    assert_eq!(count.validate_params(&json!({"text": "a b"})), Ok(()));
    insta::assert_debug_snapshot!(count.validate_params(&json!({"text": 5})), @r#"
    Err(
        [
            "`/text`: the value is not of type \"string\"",
        ],
    )
    "#);
    insta::assert_debug_snapshot!(count.validate_result(&json!({"words": -1})), @r#"
    Err(
        [
            "`/words`: the value is less than the minimum of 0",
        ],
    )
    "#);
    assert_eq!(manifest.methods["forget"].validate_params(&json!(null)), Ok(()));
    assert_eq!(manifest.validate_config(&json!({})), Ok(json!({"language": "en"})));
    insta::assert_debug_snapshot!(manifest.validate_config(&json!({"limt": 1})), @r#"
    Err(
        [
            "Additional properties are not allowed ('limt' was unexpected)",
        ],
    )
    "#);
    assert!(manifest.validate_config(&json!([])).is_err());
}

#[test]
fn configuration_may_be_two_lists() {
    let text = format!("{MINIMAL}[config]\nrequired = [\"url\"]\noptional = [\"retries\"]\n");
    let manifest = parse(&text).unwrap();
    assert!(manifest.validate_config(&json!({"url": "x", "retries": 3})).is_ok());
    assert!(manifest.validate_config(&json!({"retries": 3})).is_err());
    assert!(manifest.validate_config(&json!({"url": "x", "other": 3})).is_err());
}

#[test]
fn no_configuration_declared_takes_any_object() {
    let manifest = parse(MINIMAL).unwrap();
    assert_eq!(manifest.validate_config(&json!({"a": 1})), Ok(json!({"a": 1})));
}

#[test]
fn an_inline_script_may_have_lines() {
    let text = MINIMAL.replace("\"./words\"", "[\"sh\", \"-c\", \"\"\"\nread x\necho $x\n\"\"\"]");
    assert_eq!(parse(&text).unwrap().runtime.command[2], "read x\necho $x\n");
}

#[test]
fn other_dialects_may_use_the_words_of_ours() {
    let method = "[methods.\"textDocument/hover\"]\n[methods.shutdown]\n";
    let plain = MINIMAL.replace("\"./words\"", "\"./words\"\ndialect = \"jsonrpc\"");
    assert!(parse(&format!("{plain}{method}")).is_ok());
    assert!(parse(&format!("{MINIMAL}{method}")).is_err());
}

#[test]
fn the_supervisors_sdk_is_there_for_the_asking() {
    let asked = MINIMAL.replace("\"./words\"", "\"python3 main.py\"\nsdk = \"python\"");
    assert_eq!(parse(&asked).unwrap().runtime.sdk, Some(Sdk::Python));
    assert!(parse(&asked.replace("\"python\"", "\"pithon\"")).is_err());
}

#[test]
fn an_exit_status_has_one_spelling_and_one_byte() {
    for status in ["256", "-1", "03", "'3 '", "x"] {
        let text = format!("{MINIMAL}[supervision.exit_codes]\n{status} = \"clean\"\n");
        let error = parse(&text).unwrap_err();
        assert!(error.problems()[0].message().ends_with("is not an exit status"), "{error}");
    }
}

#[test]
fn a_frame_is_as_long_as_the_protocol_allows() {
    for size in ["\"63KiB\"", "67108865"] {
        let error = parse(&format!("{MINIMAL}[limits]\nmax_frame = {size}\n")).unwrap_err();
        assert!(error.problems()[0].message().ends_with("bytes are out of range"), "{error}");
    }
    let most = parse(&format!("{MINIMAL}[limits]\nmax_frame = \"64MiB\"\n")).unwrap();
    assert_eq!(most.limits.max_frame, 64 << 20);
}

#[test]
fn a_dependency_is_a_range_or_a_table() {
    let error = parse(&format!("{MINIMAL}[dependencies]\nx = 1\n")).unwrap_err();
    assert_eq!(
        error.problems()[0].message(),
        "expected a version range, or a table, found a whole number"
    );
    let any = parse(&format!("{MINIMAL}[dependencies.x]\non_loss = \"stop\"\n")).unwrap();
    let need = any.dependencies.plugins.values().next().unwrap();
    assert_eq!((need.on_loss, need.range.to_string()), (OnLoss::Stop, "*".to_owned()));
}
