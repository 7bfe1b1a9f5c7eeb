-- What each person did in each run of MITx Online's Open edX, accounts of one person added up.
select
  course_runs.platform,
  course_runs.courserun_readable_id,
  course_runs.courserun_title,
  accounts.user_key,
  max(users.user_email) as user_email,
  max(users.user_full_name) as user_full_name,
  sum(activity.videos_watched_count) as videos_watched_count,
  sum(activity.problems_attempted_count) as problems_attempted_count,
  sum(activity.problems_solved_count) as problems_solved_count,
  max(activity.days_active_count) as days_active_count,
  min(activity.first_activity_on) as first_activity_on,
  max(activity.last_activity_on) as last_activity_on,
  max(activity.coursegrade_percent) as coursegrade_percent
from {{ ref('int__mitxonline__courserun_activity') }} as activity
inner join {{ ref('int__combined__user_accounts') }} as accounts
  on accounts.account_source = 'mitxonline_openedx' and accounts.account_id = activity.openedx_user_id
inner join {{ ref('dim_user') }} as users on users.user_key = accounts.user_key
inner join {{ ref('dim_course_run') }} as course_runs
  on course_runs.platform = 'mitxonline' and course_runs.courserun_readable_id = activity.courserun_readable_id and course_runs.is_current
group by course_runs.platform, course_runs.courserun_readable_id, course_runs.courserun_title, accounts.user_key
