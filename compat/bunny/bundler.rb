# The specs ask for Bundler, which would want gems that Debian does not have: what they need is there without it.
module Bundler
  def self.require(*); end
end
