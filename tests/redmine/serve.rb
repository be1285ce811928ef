# Serves Redmine on loopback: `ruby serve.rb PORT`. WEBrick is loaded before
# Redmine's Bundler, which does not list it.
require 'webrick'
require 'rack'
require 'rack/handler/webrick'

application, = Rack::Builder.parse_file('config.ru')
trap('TERM') { exit }
Rack::Handler::WEBrick.run(application, Host: '127.0.0.1', Port: Integer(ARGV.fetch(0)))
