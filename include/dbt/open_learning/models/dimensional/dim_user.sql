-- One row per person. The profile is that of the account that joined last; the country the newest account that states one.
select
  user_key,
  max(user_email_identity) as user_email,
  max_by(user_full_name, user_joined_on) filter (where user_full_name is not null) as user_full_name,
  max_by(user_address_country, user_joined_on) filter (where user_address_country is not null) as user_address_country,
  bool_or(user_is_active) as user_is_active,
  min(user_joined_on) as user_joined_on,
  max(case when account_source = 'mitxonline' then account_id end) as mitxonline_user_id,
  max(case when account_source = 'mitxonline_openedx' then account_id end) as mitxonline_openedx_user_id,
  max(case when account_source = 'mitxpro' then account_id end) as mitxpro_user_id,
  count(*) as user_account_count
from {{ ref('int__combined__user_accounts') }}
group by user_key
