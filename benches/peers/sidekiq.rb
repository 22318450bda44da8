# The no-op job that Sidekiq drains, and the program that enqueues it:
#   ruby sidekiq.rb COUNT   pushes COUNT jobs to the queue "staged"
#   sidekiq -r sidekiq.rb   works on the queue "bench"; says in Redis that it has started
require "sidekiq"

Redis.silence_deprecations = true if Redis.respond_to?(:silence_deprecations=)
Sidekiq.logger.level = Logger::ERROR

class NoOp
  include Sidekiq::Worker
  sidekiq_options queue: "staged"

  def perform(*)
  end
end

Sidekiq.configure_server do |config|
  config.on(:startup) { Sidekiq.redis { |redis| redis.incr("bench:started") } }
end

if $PROGRAM_NAME == __FILE__
  # 200 bytes of JSON in all, as the others get.
  args = [[1, "x" * 194]]
  left = Integer(ARGV.fetch(0))
  while left.positive?
    count = [left, 1000].min
    Sidekiq::Client.push_bulk("class" => NoOp, "queue" => "staged", "args" => args * count)
    left -= count
  end
end
