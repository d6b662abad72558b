//! Pages for people and crawlers.

use std::fmt::Write as _;

use super::status::text::escape;

/// The icon: two bars that merge into one.
pub(super) const ICON: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 16 16\">\
    <path d=\"M3 2v4l5 4 5-4V2M8 10v4\" fill=\"none\" stroke=\"#e6522c\" stroke-width=\"2.5\"/></svg>\n";

/// Crawlers must not index metrics.
pub(super) const ROBOTS: &str = "User-agent: *\nDisallow: /\n";

/// Allows the style of the landing page, and nothing else.
pub(super) const CONTENT_SECURITY_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; frame-ancestors 'none'";

/// The landing page, with links to these paths.
pub(super) fn landing<'a>(paths: impl Iterator<Item = &'a str>) -> String {
    let mut links = String::new();
    for path in paths {
        let path = escape(path);
        let _ = writeln!(links, "<li><a href=\"{path}\">{path}</a></li>");
    }
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>multiprom</title>\n\
         <style>body {{ font-family: sans-serif; margin: 2em }}</style>\n</head>\n<body>\n\
         <h1>multiprom</h1>\n<p>Metrics:</p>\n<ul>\n{links}</ul>\n\
         <p>Version {}</p>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_escaped_in_the_landing_page() {
        let page = landing(["/metrics", "/\"><script>'&"].into_iter());
        assert!(page.contains("<p>Metrics:</p>"));
        assert!(page.contains("<li><a href=\"/metrics\">/metrics</a></li>\n"));
        assert!(page.contains("href=\"/&quot;&gt;&lt;script&gt;&#39;&amp;\""));
        assert!(!page.contains("<script"));
    }
}
