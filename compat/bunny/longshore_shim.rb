# Has the specs use the server at AMQP=HOST:PORT, its user and its virtual host, where they would use those that a script of
# bunny's makes in RabbitMQ.
require "bunny"

module LongshoreShim
  HOST, PORT = ENV.fetch("AMQP").split(":")

  def initialize(connection_string_or_opts = ENV["RABBITMQ_URL"], optz = {})
    return super if connection_string_or_opts.is_a?(String)
    super(mapped(connection_string_or_opts || {}), mapped(optz))
  end

  private

  def mapped(given)
    opts = given.dup
    if [nil, "/", "bunny_testbed"].include?(opts[:vhost]) && [nil, 5672].include?(opts[:port])
      opts[:vhost] = "/"
      unless opts[:hosts] || opts[:addresses]
        opts[:host] = HOST
        opts[:port] = PORT.to_i
      end
    end
    if ["bunny_gem", "bunny_reader"].include?(opts[:user] || opts[:username])
      opts.delete(:user)
      opts.delete(:pass)
      opts.merge!(username: "guest", password: "guest")
    end
    opts
  end
end

Bunny::Session.prepend(LongshoreShim)
