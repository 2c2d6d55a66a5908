//! A client of one answer: `rmcp URL NUMBER`.

use std::error::Error;

use clients::{arguments, say, tell_end};
use rmcp::model::{CallToolRequestParams, ProgressNotificationParam};
use rmcp::service::{NotificationContext, RoleClient, ServiceExt};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::{ClientHandler, object};

struct Reader;

impl ClientHandler for Reader {
    async fn on_progress(
        &self,
        params: ProgressNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        say(&params.progress.to_string());
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (url, number) = arguments("rmcp", Some("reqwest"));
    tell_end(run(&url, &number[0]).await);
}

async fn run(url: &str, number: &str) -> Result<(), Box<dyn Error>> {
    let service =
        Reader.serve(StreamableHttpClientTransport::from_uri(format!("{url}/mcp"))).await?;
    service.list_tools(None).await?;
    let to: u64 = number.parse()?;
    let call = CallToolRequestParams::new("count").with_arguments(object!({ "to": to }));
    let result = service.call_tool(call).await?;
    say(result.content[0].as_text().map_or("no text", |it| &it.text));
    service.cancel().await?;
    Ok(())
}
