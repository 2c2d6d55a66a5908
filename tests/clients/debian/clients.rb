# Clients in Ruby: PROGRAM NAME URL TYPE..., or PROGRAM NAME --version, or PROGRAM --list.

%w[http_proxy HTTP_PROXY all_proxy ALL_PROXY].each { |name| ENV.delete(name) }
$stdout.sync = true
$stdout.binmode

def net_http(url)
  uri = URI(url)
  Net::HTTP.start(uri.host, uri.port) do |http|
    http.request_get(uri) do |response|
      response.read_body { |bytes| $stdout.write(bytes) }
    end
  end
end

def faraday(url)
  Faraday.get(url) do |request|
    request.options.on_data = proc { |bytes, _size| $stdout.write(bytes) }
  end
end

def http_rb(url)
  HTTP.get(url).body.each { |bytes| $stdout.write(bytes) }
end

def excon(url)
  Excon.get(url, response_block: ->(bytes, _remaining, _total) { $stdout.write(bytes) })
end

def em_http(url)
  error = nil
  EventMachine.run do
    http = EventMachine::HttpRequest.new(url).get
    http.stream { |bytes| $stdout.write(bytes) }
    http.callback { EventMachine.stop }
    http.errback do
      error = http.error || 'an error without a text'
      EventMachine.stop
    end
  end
  raise error if error
end

# The function, the library to load, the package of Debian (none: Ruby's own).
CLIENTS = {
  'ruby-nethttp' => [:net_http, 'net/http', nil],
  'ruby-faraday' => [:faraday, 'faraday', 'ruby-faraday'],
  'ruby-httprb' => [:http_rb, 'http', 'ruby-http'],
  'ruby-excon' => [:excon, 'excon', 'ruby-excon'],
  'ruby-emhttp' => [:em_http, 'em-http-request', 'ruby-em-http-request']
}.freeze

name, url = ARGV
if name == '--list'
  puts CLIENTS.keys
  exit
end
client, library, package = CLIENTS.fetch(name)
if url == '--version'
  number = package && IO.popen(['dpkg-query', '-W', '-f', '${Version}', package], &:read)
  puts "#{package ? "#{package} #{number}" : library}, Ruby #{RUBY_VERSION}"
  exit
end
Thread.new do
  $stdin.read
  exit!(0)
end
require library
begin
  send(client, url)
rescue StandardError => e
  warn "#{e.class}: #{e.message}"
  exit!(1)
end
warn 'end'
exit!(0)
