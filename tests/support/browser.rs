//! A headless Chromium, driven by the Chrome DevTools protocol over pipes.
//!
//! See: <https://chromedevtools.github.io/devtools-protocol/>

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};

use serde_json::{Value, json};

use super::TestDir;
use super::process::PATIENCE;
use super::prometheus::is_installed;

const PROGRAM: &str = "chromium-headless-shell";

/// A browser with one page. It is ended on drop.
pub struct Browser {
    child: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    last_id: u64,
    session: Option<String>,
    /// The pages that are loaded, by the id of their loader.
    loaded: Vec<Value>,
    /// Errors that the page has caused: exceptions, failed requests, violations of its policy.
    pub errors: Vec<String>,
    _profile: TestDir,
}

impl Browser {
    /// Starts a browser; `None` if there is none.
    pub fn start(name: &str) -> Option<Browser> {
        if !is_installed(PROGRAM) {
            return None;
        }
        let profile = TestDir::new(name);
        // Commands are read from descriptor 3, messages are written to descriptor 4.
        let script = format!(
            "exec {PROGRAM} --no-sandbox --remote-debugging-pipe --disable-gpu --user-data-dir=\"$0\" \
             3<&0 4>&1 </dev/null >/dev/null 2>&1"
        );
        let mut child = Command::new("sh")
            .args(["-c", &script])
            .arg(profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (commands, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, messages) = mpsc::channel();
        std::thread::spawn(move || {
            for message in BufReader::new(output).split(0) {
                let Ok(message) = message else { return };
                let _ = sender.send(serde_json::from_slice(&message).unwrap());
            }
        });
        let mut browser = Browser {
            child,
            commands,
            messages,
            last_id: 0,
            session: None,
            loaded: Vec::new(),
            errors: Vec::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", &attach);
        browser.session = Some(session["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        browser.call("Page.setLifecycleEventsEnabled", &json!({ "enabled": true }));
        Some(browser)
    }

    /// Calls a method of the protocol and returns its result.
    pub fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.last_id += 1;
        let mut command = json!({ "id": self.last_id, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            command["sessionId"] = session.as_str().into();
        }
        let mut bytes = serde_json::to_vec(&command).unwrap();
        bytes.push(0);
        self.commands.write_all(&bytes).unwrap();
        loop {
            let message = self.next(method);
            if message["id"] == self.last_id {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].clone();
            }
        }
    }

    /// The next message. Events that are errors, and those of loaded pages, are collected.
    fn next(&mut self, what: &str) -> Value {
        let message = self.messages.recv_timeout(PATIENCE);
        let message = message.unwrap_or_else(|error| panic!("{what}: {error}"));
        let parameters = &message["params"];
        let is_error = match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Runtime.consoleAPICalled") => parameters["type"] == "error",
            Some("Log.entryAdded") => parameters["entry"]["level"] == "error",
            _ => false,
        };
        if is_error {
            self.errors.push(parameters.to_string());
        }
        if message["method"] == "Page.lifecycleEvent" && parameters["name"] == "load" {
            self.loaded.push(parameters["loaderId"].clone());
        }
        message
    }

    /// Loads a page. The end of loading is an event of this page: that of the page before may arrive late.
    pub fn open(&mut self, url: &str) {
        let loader = self.call("Page.navigate", &json!({ "url": url }))["loaderId"].clone();
        while !self.loaded.contains(&loader) {
            self.next("the end of loading");
        }
    }

    /// Evaluates an expression in the page.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let parameters =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let result = self.call("Runtime.evaluate", &parameters);
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// Types text into the focused element.
    pub fn type_text(&mut self, text: &str) {
        self.call("Input.insertText", &json!({ "text": text }));
    }

    /// Presses `Enter` or a printable key.
    pub fn press(&mut self, key: &str) {
        let (text, code) = if key == "Enter" { ("\r", 13) } else { (key, 0) };
        let mut event = json!({ "type": "keyDown", "key": key, "text": text });
        event["windowsVirtualKeyCode"] = code.into();
        self.call("Input.dispatchKeyEvent", &event);
        event["type"] = "keyUp".into();
        self.call("Input.dispatchKeyEvent", &event);
    }

    /// Sets the size of the window.
    pub fn resize(&mut self, width: u32, height: u32) {
        let parameters =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", &parameters);
    }

    /// Selects the colors of the page: `light` or `dark`.
    pub fn prefer_colors(&mut self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // OK because it may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
