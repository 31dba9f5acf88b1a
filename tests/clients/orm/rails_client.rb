# frozen_string_literal: true

# Rails' ActiveRecord, with prepared statements (stack `rails`) and without (stack `rails_unprepared`).
require 'active_record'
require 'uri'

$stdout.sync = true
PAUSE = 0.12
POLL = 0.2
ORGANIZATIONS = (1..20).map { |n| 100 + n * 389 % 997 }
SOURCES = (1..100).map { |n| 10_000 + n * 1009 % 9973 }

class Organization < ActiveRecord::Base
  has_many :facilities
  has_many :conversations
end

class Facility < ActiveRecord::Base
  belongs_to :organization, optional: true
  has_many :sources, class_name: 'EmissionSource'
end

class EmissionSource < ActiveRecord::Base
  belongs_to :facility
  has_many :data, class_name: 'EmissionsData'
end

class EmissionsData < ActiveRecord::Base
  self.table_name = 'emissions_data'
  belongs_to :emission_source
end

# With the check that Rails writes itself.
class UniqueData < ActiveRecord::Base
  self.table_name = 'emissions_data'
  validates :note, uniqueness: true
end

class Conversation < ActiveRecord::Base
  belongs_to :organization
  has_many :messages
end

class Message < ActiveRecord::Base
  belongs_to :conversation
end

class Plant < ActiveRecord::Base
end

class Meter < ActiveRecord::Base
end

class Person < ActiveRecord::Base
end

class Reading < ActiveRecord::Base
  belongs_to :plant
  belongs_to :meter
  belongs_to :person
end

BASE = ARGV[0]
STACK = ARGV[1]

def row(at, note = at)
  { emission_source_id: SOURCES[at % SOURCES.size], year: 2020 + at, amount: at * 0.5, note: "#{STACK} #{note}" }
end

SCENARIOS = {
  # --- loops ---
  belongs_to: -> { Facility.order(:name).limit(30).each { |facility| facility.organization&.name } },
  has_many: -> { Organization.order(:name).each { |organization| organization.facilities.to_a } },
  count: -> { Organization.order(:name).each { |organization| organization.facilities.count } },
  exists: lambda {
    Organization.where(region: %w[north south]).order(:name).each { |organization| organization.conversations.exists? }
  },
  latest: lambda {
    Conversation.order(:title).limit(25).each { |conversation| conversation.messages.order(sent_at: :desc).first }
  },
  nested: lambda {
    Organization.order(:name).limit(8).each do |organization|
      organization.facilities.each { |facility| facility.sources.each { |source| source.data.to_a } }
    end
  },
  interleaved: lambda {
    Facility.where.not(organization_id: nil).order(:name).limit(15).each do |facility|
      facility.organization.name
      facility.sources.count
      facility.sources.order(name: :desc).first
    end
  },
  concurrent: lambda {
    ready = Queue.new
    go = Queue.new
    threads = ORGANIZATIONS.first(16).map do |id|
      Thread.new do
        ActiveRecord::Base.connection_pool.with_connection do |connection|
          connection.execute('SELECT 1')
          ready << id
          go.pop
          Conversation.where(organization_id: id).order(:title).first
        end
      end
    end
    threads.each { ready.pop }
    # The pings are long over when the crowd comes.
    sleep(0.3)
    threads.each { go << true }
    threads.each(&:join)
  },
  redundant: -> { 12.times { Organization.find(ORGANIZATIONS[5]) } },
  write_autocommit: -> { 12.times { |at| EmissionsData.create!(row(at)) } },
  write_transaction: -> { EmissionsData.transaction { 12.times { |at| EmissionsData.create!(row(at)) } } },
  update_loop: lambda {
    EmissionsData.transaction do
      EmissionsData.where(year: 2016).order(:id).limit(15).each { |data| data.update!(amount: data.amount + 1) }
    end
  },
  unique_check: -> { 12.times { |at| UniqueData.create!(row(at, "unique #{at}")) } },
  # --- answers that are compared ---
  page: lambda {
    Reading.order(:id).limit(50).each do |reading|
      meter = reading.meter
      person = reading.person
      puts "row #{reading.id} #{reading.plant.name} #{meter.kind} #{meter.factor} #{person.email} " \
           "#{person.since.utc.iso8601(6)} #{reading.quantity}"
    end
  },
  # --- look-alikes ---
  ping: -> { 30.times { ActiveRecord::Base.connection.execute('SELECT 1') } },
  poller: lambda {
    12.times do
      Message.where(author: 'ann').count
      sleep(POLL)
    end
  },
  create_requests: lambda {
    8.times do |at|
      UniqueData.create!(row(at, "request #{at}"))
      sleep(PAUSE)
    end
  },
  keyset: lambda {
    last = 0
    14.times { last = Message.where('id > ?', last).order(:id).limit(10).to_a.last.id }
  },
  # Rails' own way through a table.
  cursor: -> { Message.find_each(batch_size: 20) { |message| message.body } },
  offset: -> { 14.times { |page| Message.order(:id).limit(10).offset(page * 10).to_a } },
  prefetch: lambda {
    Organization.includes(facilities: :sources).order(:name).each { |it| it.facilities.each { |f| f.sources.to_a } }
  },
  chunks: -> { Message.order(:sent_at).pluck(:id).each_slice(25) { |ids| Message.where(id: ids).to_a } },
  bulk: -> { (0...100).each_slice(10) { |batch| EmissionsData.insert_all(batch.map { |at| row(at) }) } },
  few: -> { Facility.where.not(organization_id: nil).order(:name).limit(3).each { |facility| facility.organization.name } },
  constants: -> { (2015..2018).each { |year| EmissionsData.where(year: year).count } },
  independent: lambda {
    ORGANIZATIONS.first(12).each do |id|
      Organization.find(id)
      Conversation.where(organization_id: id).count
      sleep(PAUSE)
    end
  },
  joins: -> { Facility.eager_load(:organization).order(:name).each { |facility| facility.organization&.name } },
  handful: lambda {
    EmissionsData.transaction do
      organization = Organization.find(ORGANIZATIONS[3])
      organization.facilities.count
      organization.conversations.limit(5).to_a
      data = EmissionsData.create!(row(3))
      data.update!(note: "#{STACK} changed")
      Message.where(author: 'bob').exists?
    end
  }
}.freeze

failed = false
names = ARGV.drop(2).empty? ? SCENARIOS.keys : ARGV.drop(2).map(&:to_sym)
uri = URI(BASE)
names.each do |name|
  ActiveRecord::Base.establish_connection(
    adapter: 'postgresql', host: uri.host, port: uri.port, username: uri.user, password: uri.password,
    database: "#{STACK}__#{name}", pool: 20, prepared_statements: STACK == 'rails',
    variables: {}, application_name: "orm/#{STACK}/#{name}"
  )
  SCENARIOS.fetch(name).call
  puts "done #{name}"
rescue StandardError => e
  failed = true
  warn e.full_message(highlight: false)
  puts "failed #{name}"
ensure
  ActiveRecord::Base.remove_connection
end
exit(failed ? 1 : 0)
