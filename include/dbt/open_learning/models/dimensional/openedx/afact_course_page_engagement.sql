-- Where each learner went in a course: one row for each learner and page of a course run. Closing a page is no view of it.
select
  {{ surrogate_key(['platform', 'courserun_readable_id', 'user_username', 'page_block_id']) }} as pageengagement_key,
  platform,
  courserun_readable_id,
  user_username,
  page_block_id,
  max(openedx_user_id) as openedx_user_id,
  count(*) as page_event_count,
  count_if(navigation_action not in ('close', 'link')) as page_view_count,
  count_if(navigation_action = 'next') as page_next_count,
  count_if(navigation_action = 'previous') as page_previous_count,
  count_if(navigation_action = 'close') as page_close_count,
  count(distinct event_date_key) as days_active_count,
  min(useractivity_timestamp) as first_activity_on,
  max(useractivity_timestamp) as last_activity_on
from {{ ref('tfact_course_navigation_events') }}
where user_username is not null and courserun_readable_id is not null and page_block_id is not null
group by platform, courserun_readable_id, user_username, page_block_id
