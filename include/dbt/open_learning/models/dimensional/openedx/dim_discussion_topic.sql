-- Topics of all courses' forums, with what is in them now. Documents know their topic through their thread; a topic's name is known from events alone.
with contents as (
  {{ of_all_deployments('openedx__mongodb__forum__contents') }}
),

threads as (
  select platform, courserun_readable_id, forumcontent_thread_id, discussiontopic_id
  from contents
  where forumcontent_kind = 'thread' and discussiontopic_id is not null
),

written as (
  select
    threads.platform,
    threads.courserun_readable_id,
    threads.discussiontopic_id,
    count_if(contents.forumcontent_kind = 'thread' and not contents.forumcontent_is_deleted) as discussiontopic_thread_count,
    count_if(contents.forumcontent_kind = 'response' and not contents.forumcontent_is_deleted) as discussiontopic_response_count,
    count_if(contents.forumcontent_kind = 'comment' and not contents.forumcontent_is_deleted) as discussiontopic_comment_count,
    max(contents.forumcontent_created_on) as discussiontopic_last_content_on
  from threads
  inner join contents on contents.platform = threads.platform and contents.forumcontent_thread_id = threads.forumcontent_thread_id
  group by threads.platform, threads.courserun_readable_id, threads.discussiontopic_id
),

named as (
  select
    platform,
    courserun_readable_id,
    discussiontopic_id,
    max_by(discussiontopic_name, useractivity_timestamp) filter (where discussiontopic_name is not null) as discussiontopic_name
  from {{ ref('tfact_discussion_events') }}
  where courserun_readable_id is not null and discussiontopic_id is not null
  group by platform, courserun_readable_id, discussiontopic_id
)

select
  {{ surrogate_key([
    'coalesce(written.platform, named.platform)', 'coalesce(written.courserun_readable_id, named.courserun_readable_id)',
    'coalesce(written.discussiontopic_id, named.discussiontopic_id)'
  ]) }} as discussiontopic_key,
  coalesce(written.platform, named.platform) as platform,
  coalesce(written.courserun_readable_id, named.courserun_readable_id) as courserun_readable_id,
  coalesce(written.discussiontopic_id, named.discussiontopic_id) as discussiontopic_id,
  named.discussiontopic_name,
  coalesce(written.discussiontopic_thread_count, 0) as discussiontopic_thread_count,
  coalesce(written.discussiontopic_response_count, 0) as discussiontopic_response_count,
  coalesce(written.discussiontopic_comment_count, 0) as discussiontopic_comment_count,
  written.discussiontopic_last_content_on
from written
full outer join named
  on named.platform = written.platform and named.courserun_readable_id = written.courserun_readable_id
  and named.discussiontopic_id = written.discussiontopic_id
