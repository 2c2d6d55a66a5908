//! A client of one answer: `async-openai URL PROMPT`.

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::error::OpenAIError;
use async_openai::types::chat::{
    ChatCompletionRequestUserMessage, CreateChatCompletionRequestArgs,
};
use clients::{arguments, say, tell_end};
use futures_util::StreamExt;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (url, prompt) = arguments("async-openai", Some("reqwest"));
    tell_end(run(&url, &prompt[0]).await);
}

async fn run(url: &str, prompt: &str) -> Result<(), OpenAIError> {
    let config = OpenAIConfig::new().with_api_base(format!("{url}/v1")).with_api_key("x");
    let http = reqwest::Client::builder().no_proxy().build()?;
    let message = ChatCompletionRequestUserMessage::from(prompt).into();
    let request =
        CreateChatCompletionRequestArgs::default().model("toy").messages([message]).build()?;
    let client = Client::with_config(config).with_http_client(http);
    let mut stream = client.chat().create_stream(request).await?;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        say(chunk.choices[0].delta.content.as_deref().unwrap_or_default());
    }
    Ok(())
}
