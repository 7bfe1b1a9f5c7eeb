-- What an organisation's administrators see: their learners in the runs of their contracts. The address is the one the account has on the platform.
with certified as (
  select distinct user_id, courserun_key
  from {{ ref('tfact_certificate') }}
  where platform = 'mitxonline' and not is_deleted and not courseruncertificate_is_revoked
)

select
  contract_runs.organization_key,
  organizations.organization_name,
  contract_runs.courserun_readable_id,
  course_runs.courserun_title,
  users.user_email_identity as user_email,
  max(users.user_full_name) as user_full_name,
  count(*) as enrolled_count,
  count(certified.user_id) as certificate_count,
  count_if(activity.blocks_touched_count > 0) as active_count,
  coalesce(sum(activity.videos_watched_count), 0) as videos_watched,
  coalesce(sum(activity.problems_attempted_count), 0) as problems_count,
  max(activity.last_activity_on) as last_activity_on
from {{ ref('bridge_organization_courserun') }} as contract_runs
inner join {{ ref('dim_organization') }} as organizations on organizations.organization_pk = contract_runs.organization_pk
inner join {{ ref('dim_course_run') }} as course_runs on course_runs.courserun_key = contract_runs.courserun_key and course_runs.is_current
inner join {{ ref('tfact_enrollment') }} as enrollments on enrollments.courserun_key = contract_runs.courserun_key and not enrollments.is_deleted
inner join {{ ref('int__mitxonline__users') }} as users on users.user_id = enrollments.user_id
left join certified on certified.user_id = enrollments.user_id and certified.courserun_key = enrollments.courserun_key
left join {{ ref('int__mitxonline__courserun_activity') }} as activity
  on contract_runs.platform = 'mitxonline' and activity.courserun_readable_id = contract_runs.courserun_readable_id
  and activity.openedx_user_id = users.openedx_user_id
where users.user_email_identity is not null and contract_runs.courserun_readable_id is not null
group by
  contract_runs.organization_key, organizations.organization_name, contract_runs.courserun_readable_id, course_runs.courserun_title, users.user_email_identity
