-- What each learner did in a course's forum: one row for each learner of a course run.
select
  {{ surrogate_key(['platform', 'courserun_readable_id', 'user_username']) }} as discussionengagement_key,
  platform,
  courserun_readable_id,
  user_username,
  max(openedx_user_id) as openedx_user_id,
  count_if(discussion_action = 'thread') as discussion_thread_count,
  count_if(discussion_action = 'response') as discussion_response_count,
  count_if(discussion_action = 'comment') as discussion_comment_count,
  count_if(discussion_action = 'view') as discussion_view_count,
  count_if(discussion_action = 'search') as discussion_search_count,
  count_if(discussion_action = 'vote') as discussion_vote_count,
  count(distinct discussiontopic_id) as discussion_topic_count,
  count(distinct event_date_key) as days_active_count,
  min(useractivity_timestamp) as first_activity_on,
  max(useractivity_timestamp) as last_activity_on
from {{ ref('tfact_discussion_events') }}
where user_username is not null and courserun_readable_id is not null
group by platform, courserun_readable_id, user_username
