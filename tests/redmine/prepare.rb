# Fills an instance of Redmine for the tests: REST on, an API key, a project with
# real issues. Runs inside Redmine: `rails runner prepare.rb`.
require 'json'

Redmine::DefaultData::Loader.load('en') if Redmine::DefaultData::Loader.no_data?
Setting.rest_api_enabled = '1'
Setting.login_required = '1'

admin = User.find_by!(login: 'admin')
admin.update_columns(must_change_passwd: false)
User.current = admin

name = ENV.fetch('REDMINE_INSTANCE')
project = Project.find_by(identifier: 'shop') ||
          Project.create!(name: "Shop of #{name}", identifier: 'shop', trackers: Tracker.all, enabled_module_names: ['issue_tracking'])
issues = ENV.fetch('SUBJECTS').split('|').map do |subject|
  Issue.create!(project: project, tracker: Tracker.first, author: admin, subject: subject,
                priority: IssuePriority.first, status: IssueStatus.first).id
end
File.write(ENV.fetch('ANSWER'), JSON.generate(api_key: admin.api_key, issues: issues))
